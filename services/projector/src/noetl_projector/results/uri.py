"""References of stored results."""

from dataclasses import dataclass

_SCHEME = "noetl://"


class InvalidUri(ValueError):
    """The text is not the reference of a result."""


@dataclass(frozen=True, slots=True)
class ResultUri:
    """``noetl://execution/<execution_id>/result/<name>/<result_id>``."""

    execution_id: int
    name: str
    result_id: int

    def __str__(self) -> str:
        """Spell the URI; the name is put in as it is."""
        return f"{_SCHEME}execution/{self.execution_id}/result/{self.name}/{self.result_id}"

    @classmethod
    def parse(cls, text: str) -> "ResultUri":
        """Read a URI.

        Raises:
            InvalidUri: the text is not a reference.
        """
        if not text.startswith(_SCHEME):
            raise InvalidUri(f"URI must start with '{_SCHEME}', got: \"{text}\"")
        parts = text.removeprefix(_SCHEME).split("/")
        if len(parts) < 5:
            raise InvalidUri(
                f"URI must have 5 path segments after '{_SCHEME}', got {len(parts)}: \"{text}\""
            )
        name = "/".join(parts[3:-1])
        if parts[0] != "execution" or parts[2] != "result" or not name:
            raise InvalidUri(
                f'URI must be {_SCHEME}execution/<id>/result/<name>/<id>, got: "{text}"'
            )
        try:
            execution_id, result_id = int(parts[1]), int(parts[-1])
        except ValueError:
            raise InvalidUri(f'URI must name two integer ids, got: "{text}"') from None
        if not all(-(1 << 63) <= number < 1 << 63 for number in (execution_id, result_id)):
            raise InvalidUri(f'URI must name 64-bit ids, got: "{text}"')
        return cls(execution_id=execution_id, name=name, result_id=result_id)
