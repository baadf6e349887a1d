"""Pauses of loops that look for work that nothing announced."""


class Pace:
    """Short pauses while there is something, longer ones the longer there is nothing.

    Each look that finds nothing doubles the pause, so what a lost announcement leaves behind waits
    for about as long as it was quiet before, and for the longest pause at most.

    Args:
        shortest: seconds after a look that found something, or after ``reset``.
        longest: seconds at most.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = max(shortest, longest)
        self._next = shortest

    def after(self, found: object) -> float:
        """Return the seconds to the next look, after one that found something or nothing."""
        if found:
            self.reset()
        pause = self._next
        self._next = min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        """Begin with the shortest pause again: there is work."""
        self._next = self._shortest
