"""Results of pipelines, which have a label for each task."""

from noetl_contract.json import JsonObject


def merge_labels(data: JsonObject) -> JsonObject:
    """Return a result with the fields of its labels beside them, as templates see it.

    A result is one of labels when all its values are objects. Of two labels with a field of the
    same name the later in the alphabet wins.
    """
    merged = dict(data)
    if all(isinstance(item, dict) for item in data.values()):
        for label in sorted(data):
            merged.update(data[label])
    return merged
