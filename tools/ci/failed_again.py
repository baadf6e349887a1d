"""Run the tests that have just failed once more, alone: ``make failed-again``.

Thousands of tests with real servers, clocks and kills share two processors in a full run, and now
and then one of them finds its moment taken. At most a few get a second chance, without neighbours
and in the order of their files; those that pass are named, because such a test has to be mended
too. Whatever fails twice has failed.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

MOST = 3
_SECONDS = 240
_CACHE = Path(".pytest_cache/v")
_SOME_FAILED = 1
"""How pytest ends when every test ran and some failed; anything else left tests out."""


def ids_of(names: Iterable[str]) -> list[str]:
    """Return the ids of failed tests, without the groups that share a process.

    Raises:
        ValueError: nothing failed, too much failed, or a file could not even be read.
    """
    found = [name.rpartition("@")[0] if _has_group(name) else name for name in names]
    if not found:
        raise ValueError("no test is known to have failed")
    if len(found) > MOST:
        raise ValueError(f"{len(found)} tests failed; only {MOST} get a second chance")
    for name in found:
        if "::" not in name:
            raise ValueError(f"{name} could not be read")
    return found


def read_failed(cache: Path) -> list[str]:
    """Return the ids of the tests that failed in the last run.

    Raises:
        OSError: there was no run.
        ValueError: as `ids_of`, or the run broke off before all tests had run.
    """
    status = json.loads((cache / "noetl/exit_status").read_text(encoding="utf-8"))
    if status != _SOME_FAILED:
        raise ValueError(f"the tests did not run to their end (exit status {status})")
    return ids_of(json.loads((cache / "cache/lastfailed").read_text(encoding="utf-8")))


def _has_group(name: str) -> bool:
    _, separator, group = name.rpartition("@")
    return bool(separator) and "]" not in group


def main() -> int:
    """Run them and say what became of them; 0 if all passed."""
    try:
        names = read_failed(_CACHE)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"no second chance: {error}\n")
        return 1
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *names]
    try:
        run = subprocess.run(command, check=False, timeout=_SECONDS)  # noqa: S603 -- our tests
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"no second chance: not done after {_SECONDS} s\n")
        return 1
    if run.returncode == 0:
        sys.stdout.write(
            "\n  ".join(["failed among others and passed alone; to be mended:", *names]) + "\n"
        )
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
