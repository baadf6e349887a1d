"""Keeps our own memory and environment from the scripts we run."""

import ctypes

__all__ = ["hide_from_scripts"]

_PR_SET_DUMPABLE = 4


def hide_from_scripts() -> None:
    """Make `/proc/<our pid>` unreadable for processes of our own user.

    Scripts run under our user; without this they could read the broker's password there. A
    worker that runs as root cannot hide from its scripts this way.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):  # another system
        return
