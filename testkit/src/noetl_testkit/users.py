"""Commands of the tests that run as another user of the machine."""

import subprocess
import sys


def as_user(number: int) -> tuple[str, ...]:
    """Return the words that run a command as the user of this number, which needs root."""
    return ("setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups")


def user_can_import(number: int, module: str) -> bool:
    """Return whether this interpreter finds a module when that user runs it.

    A checkout in a folder that only root may enter is out of reach for other users, although
    ``setpriv`` can still execute its interpreter.
    """
    probe = [*as_user(number), sys.executable, "-c", f"import {module}"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0
