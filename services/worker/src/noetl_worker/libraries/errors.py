"""Failures of libraries."""


class LibrariesFailed(Exception):
    """A script can't have its libraries."""

    def __init__(self, text: str, *, is_unreachable: bool = False) -> None:
        super().__init__(text)
        self.is_unreachable = is_unreachable
        """Whether a later try may succeed."""
