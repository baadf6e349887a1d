"""Prove the promises of Dockerfile and compose.yaml: ``make containers``.

Takes the engine that runs here, or brings one up (root on Debian), builds every image, starts the
stack and goes through `checks`. Where no engine can be had it says so and ends with 0, or with 1
under ``--required``; anything that is not as promised ends with 1.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import checks
from bases import Base, NoBaseError, provide
from engine import CommandFailedError, Engine, NoEngineError, install, running, started
from stack import CheckFailedError, Stack, quietly

ROOT = Path(__file__).resolve().parents[2]


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Table:
    """The parts of a proof: how long each took, and its result."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float, str]] = []

    def add[T](self, name: str, part: Callable[[], T]) -> T:
        """Do a part; its result is the text that it returns, if it does."""
        begun = time.monotonic()
        found = part()
        took = time.monotonic() - begun
        self._rows.append((name, took, found if isinstance(found, str) else "done"))
        say(f"{took:6.1f} s  {name}: {self._rows[-1][2]}")
        return found

    def show(self) -> None:
        """Print all parts."""
        total = sum(row[1] for row in self._rows)
        say("\n| part | seconds | result |\n|---|---|---|")
        for name, took, result in self._rows:
            say(f"| {name} | {took:.1f} | {result} |")
        say(f"| all | {total:.1f} | |")


@contextmanager
def engine_of(arguments: argparse.Namespace, scratch: Path, table: Table) -> Iterator[Engine]:
    """Return an engine: the one that runs here, else one of our own.

    Raises:
        NoEngineError: neither can be had.
    """
    try:
        found = None if arguments.own_engine else running()
        reason = "told to bring one up"
    except NoEngineError as error:
        found, reason = None, str(error)
    if found is not None:
        yield found
        return
    try:
        table.add("packages of the engine", install)
        # Sockets have short paths: not in the folder of somebody's checkout.
        with started(scratch / "engine") as ours:
            yield ours
    except NoEngineError as error:
        raise NoEngineError(f"{reason}; {error}") from error


def prove(engine: Engine, scratch: Path, table: Table) -> None:
    """Go through all parts.

    Raises:
        CheckFailedError, CommandFailedError: something is not as promised.
        NoBaseError: an image that ours need can't be had.
    """
    bases: list[Base] = []
    table.add("base images", lambda: _listed(bases, provide(engine, ROOT)))
    stack = Stack(engine, ROOT, scratch, bases)
    try:
        sizes: dict[str, int] = {}
        table.add("our images", lambda: _built(stack, sizes))
        show_sizes(stack, sizes)
        table.add("sizes", lambda: checks.small(sizes))
        table.add("up and healthy", stack.up)
        table.add("confined", lambda: checks.confined(stack))
        table.add("apart", lambda: checks.apart(stack))
        table.add("guarded", lambda: checks.guarded(stack))
        table.add("a playbook", lambda: checks.plays(stack))
        table.add("each process killed", lambda: checks.survives(stack, say))
        table.add("stopped and restarted", lambda: checks.stops(stack))
        table.add("down and up", lambda: checks.lasts(stack))
    except (CheckFailedError, CommandFailedError):
        say(_logs(stack))
        raise
    finally:
        quietly(stack)


def _logs(stack: Stack) -> str:
    try:
        return stack.logs()
    except CommandFailedError as error:
        return f"no logs: {error}"


def _listed(into: list[Base], bases: list[Base]) -> str:
    into.extend(bases)
    return ", ".join(base.image for base in bases)


def _built(stack: Stack, into: dict[str, int]) -> str:
    into.update(stack.build())
    return f"{len(into)} images"


def show_sizes(stack: Stack, sizes: dict[str, int]) -> None:
    """Print the table of sizes."""
    base = stack.size(stack.base) / 1e6
    say("\n| image | MB | above the base |\n|---|---|---|")
    for name, size in sizes.items():
        say(f"| {name.partition(':')[0]} | {size / 1e6:.0f} | {size / 1e6 - base:.0f} |")
    say(f"| base | {base:.0f} | |\n")


def _on_sigterm(number: int, _frame: FrameType | None) -> None:
    """End like after any other failure: stack and engine are taken down first."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """Prove it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own-engine", action="store_true", help="bring one up in any case")
    parser.add_argument("--required", action="store_true", help="no engine is a failure")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _on_sigterm)
    # Who shares the machine comes first; what is started inherits it.
    os.nice(max(0, 10 - os.nice(0)))
    scratch = Path(tempfile.mkdtemp(prefix="noetl-containers-"))
    table = Table()
    try:
        with engine_of(arguments, scratch, table) as engine:
            say(f"with {engine.name}")
            prove(engine, scratch, table)
    except (NoEngineError, NoBaseError) as error:
        say(f"NOT PROVEN: {error}")
        return 1 if arguments.required else 0
    except (CheckFailedError, CommandFailedError) as error:
        table.show()
        say(f"FAILED: {error}")
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    table.show()
    say("proven")
    return 0


if __name__ == "__main__":
    sys.exit(main())
