"""Protection of a process from other processes of its own user."""

import ctypes

_PR_SET_DUMPABLE = 4


def hide_from_scripts() -> None:
    """Make `environ`, `mem`, `fd` and the like of `/proc/<our pid>` unreadable for our own user.

    Scripts of a worker run under its user, which may be that of other services too; without this
    they could read passwords and keys there. Scripts of a worker that runs as root lose the
    capability that would get round it.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):  # another system
        return
