"""The commands of a page: whether they exist, and what they do one after the other."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import typer
from fenced import ROOT, Block
from noetl.main import app

_SECONDS = 60
_ID = re.compile(r"\b\d{17,19}\b")
_CALL = re.compile(r"(?:^|[|(&;]\s*|\s)(?:\S*/)?noetl-server\s+([^|)&;#\n]*)", re.MULTILINE)
_TARGET = re.compile(r"(?:^|&& )make ([a-z-]+)", re.MULTILINE)


@dataclass(kw_only=True)
class Reader:
    """Somebody who types what a page says, in a folder that has the repository's examples.

    Attributes:
        places: addresses in the page, with those that stand for them here.
        data: data directory of the stack that the page speaks to.
        programs: folder that is looked into first for programs.
    """

    folder: Path
    places: Mapping[str, str]
    data: Path
    programs: Path
    execution: str = ""
    outputs: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for name in ("examples", "Makefile", "tools"):
            (self.folder / name).symlink_to(ROOT / name)

    def follow(self, page: list[Block]) -> dict[str, tuple[int, str]]:
        """Do what a page says, and return exit codes and outputs by the blocks' places."""
        for block in page:
            self._take(block)
        return self.outputs

    def _take(self, block: Block) -> None:
        if "file" in block.marks:
            (self.folder / block.marks["file"]).write_text(self._here(block.text))
        elif block.language == "sh" and block.is_run:
            self.outputs[block.place] = self._run(self._here(block.text))

    def _here(self, text: str) -> str:
        """Return a text with this machine's addresses and the execution that was seen last."""
        for place, stand_in in self.places.items():
            text = text.replace(place, stand_in)
        return re.sub(r"\bEXECUTION_ID\b", self.execution or "EXECUTION_ID", text)

    def _run(self, text: str) -> tuple[int, str]:
        places = (str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"])
        try:
            done = subprocess.run(
                ["bash", "-eu", "-o", "pipefail", "-c", text],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PATH": os.pathsep.join(places),
                    "HOME": str(self.folder),
                    "NOETL_DATA_DIR": str(self.data),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return -1, f"it has not ended: {error.output}"
        if ids := _ID.findall(done.stdout):
            self.execution = ids[-1]
        return done.returncode, done.stdout


def strangers(text: str) -> Iterator[str]:
    """Yield commands and options of ours in a text that don't exist."""
    targets = (ROOT / "Makefile").read_text()
    for name in _TARGET.findall(text):
        if not re.search(rf"^{name}:", targets, re.MULTILINE):
            yield f"make {name}"
    for call in _CALL.finditer(text.replace("\\\n", " ")):
        try:
            words = shlex.split(call[1], comments=True)
        except ValueError:
            words = call[1].split()
        yield from _strange_words(words)


def _strange_words(words: list[str]) -> Iterator[str]:
    command = typer.main.get_command(app)
    said = "noetl-server"
    while words and isinstance(commands := getattr(command, "commands", None), dict):
        word, *words = words
        if word.startswith("-"):
            break
        said += f" {word}"
        if word not in commands:
            yield said
            return
        command = commands[word]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    for word in words:
        option = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", option) and option not in {*known, "--help"}:
            yield f"{said} {option}"
