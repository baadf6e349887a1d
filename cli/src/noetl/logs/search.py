"""`noetl-server logs EXECUTION [STEP]`: where the lines are, and how they are printed."""

import heapq
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from noetl.logs.lines import Line, Wanted, in_order, read_lines, shown
from noetl.stack.errors import StackError
from noetl.stack.logs import follow

STDIN = Path("-")


def print_lines(lines: Iterable[Line], *, width: int, as_json: bool) -> int:
    """Print lines as they come; return how many there were."""
    found = 0
    for line in lines:
        found += 1
        text = json.dumps(line.as_json(), default=str) if as_json else None
        sys.stdout.write(f"{shown(line, width=width) if text is None else text}\n")
    sys.stdout.flush()
    return found


def find_in(
    files: Sequence[Path], wanted: Wanted, *, as_json: bool, printed: Sequence[Line] = ()
) -> int:
    """Print the wanted lines of files, `-` being standard input; return how many.

    Lines that steps have printed are put between them, in the order of time.

    Raises:
        StackError: a file can't be read.
    """
    with ExitStack() as opened:
        logs = [read_lines(_open(path, opened), _place(path)) for path in files]
        places = {*map(_place, files), *(line.place for line in printed)}
        lines = heapq.merge(in_order(logs, wanted), printed, key=lambda line: line.time)
        return print_lines(lines, width=max(map(len, places), default=0), as_json=as_json)


def log_files(directory: Path) -> list[Path]:
    """Return the logs of a stack's processes, with the older part of each that is kept."""
    return sorted(path for pattern in ("*.log.1", "*.log") for path in directory.glob(pattern))


def follow_new(files: Sequence[Path], wanted: Wanted, *, as_json: bool) -> None:
    """Print wanted lines as processes write them, without end."""
    paths = {_place(path): path for path in files if path.suffix == ".log"}
    width = max(map(len, paths), default=0)
    new = follow(paths)
    lines = (line for place, text in new for line in read_lines([text], place))
    for line in lines:
        if line in wanted:
            print_lines([line], width=width, as_json=as_json)


def _open(path: Path, opened: ExitStack) -> Iterator[str] | TextIO:
    if path == STDIN:
        return sys.stdin
    try:
        return opened.enter_context(path.open(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise StackError(f"{path} can't be read: {error.strerror or error}") from None


def _place(path: Path) -> str:
    return "stdin" if path == STDIN else path.name.partition(".log")[0]
