"""Readers that type the commands of a page, one after the other."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fenced import ROOT, Block
from noetl.stack.servers.binaries import postgres
from noetl_testkit.waiting import PATIENCE_SECONDS

_ID = re.compile(r"\b\d{17,19}\b")
_KEY = re.compile(r"\bnk_([0-9a-f]+)_[\w-]{20,}")
_POSTGRES = postgres("psql").parent
# A terminal keeps what is exported in it.
_TERMINAL = "[ ! -f .terminal ] || . ./.terminal; export ID={id}; trap 'export -p > .terminal' EXIT"


@dataclass(kw_only=True)
class Reader:
    """A reader that types the commands of a page, in a folder with the repository's examples.

    Attributes:
        places: addresses, folders and times in the page, with what stands for them here.
        environment: variables that the reader has set before.
        files: what is in the folder before, by name.
        programs: folder that is looked into first for programs.
        given: starts the execution that a block is about, and returns its id.
    """

    folder: Path
    places: Mapping[str, str]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    programs: Path
    given: Callable[[str], int]
    seen: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for name in ("examples", "Makefile", "tools"):
            (self.folder / name).symlink_to(ROOT / name)
        for name, text in self.files.items():
            (self.folder / name).write_text(text)
        (self.folder / ".venv").mkdir()
        (self.folder / ".venv" / "bin").symlink_to(self.programs)

    def follow(self, page: list[Block]) -> dict[str, tuple[int, str]]:
        """Do the commands of a page, and return exit codes and outputs by the blocks' places."""
        for block in page:
            self._take(block)
        return self.outputs

    def _take(self, block: Block) -> None:
        if block.is_file:
            (self.folder / block.marks["file"]).write_text(self._here(block.text))
        elif block.language == "sh" and block.is_run:
            if "given" in block.marks:
                self.seen["EXECUTION_ID"] = str(self.given(block.marks["given"]))
            self.outputs[block.place] = self._run(self._here(block.text))

    def _here(self, text: str) -> str:
        """Return a text with this machine's addresses, and the ids and the key seen last."""
        for place, stand_in in self.places.items():
            text = text.replace(place, stand_in)
        for name, value in self.seen.items():
            text = re.sub(rf"\b{re.escape(name)}(?!\w)", value, text)
        return text

    def _run(self, text: str) -> tuple[int, str]:
        places = (
            str(self.programs),
            str(Path(sys.executable).parent),
            os.environ["PATH"],
            str(_POSTGRES),
        )
        before = _TERMINAL.format(id=self.seen.get("EXECUTION_ID", ""))
        try:
            done = subprocess.run(
                ["bash", "-eu", "-o", "pipefail", "-c", f"{before}\n{text}"],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PATH": os.pathsep.join(places),
                    "HOME": str(self.folder),
                    **self.environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return -1, f"it has not ended: {error.output!r}"
        if ids := _ID.findall(done.stdout):
            self.seen["EXECUTION_ID"] = ids[-1]
        if key := _KEY.search(done.stdout):
            self.seen |= {"nk_…": key[0], "KEY_ID": key[1]}
        return done.returncode, done.stdout
