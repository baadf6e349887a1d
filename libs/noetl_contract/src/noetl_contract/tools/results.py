"""Merge the labelled results of a pipeline into one object, for engine and worker alike."""

from noetl_contract.json import Json


def merge_labels(data: Json) -> Json:
    """Return an object of objects with their fields merged to the top.

    So the result of a pipeline can be read with and without the labels of its tasks, which are
    kept; of equal fields that of the last label in alphabetical order wins. Everything else is
    returned as it is.
    """
    if not isinstance(data, dict) or not data:
        return data
    if not all(isinstance(value, dict) for value in data.values()):
        return data
    merged = dict(data)
    for label in sorted(data):
        merged.update(data[label])
    return merged
