"""The code blocks of the documents, with the text around them.

A comment on the line before a block says what the block can't say itself:

``<!-- not run: REASON -->``
    Nothing here knows any of its words: programs and servers of others. The shell reads it.
``<!-- parsed: REASON -->``
    Commands that aren't run. They are read, as all others are too: by the shell, by the parsers of
    our commands with arguments and values, by the settings that they set, by the programs that
    make's targets start, and by the names in ``compose.yaml`` (`spoken`).
``<!-- registered: REASON -->``
    A document that a catalog takes, without a problem, and that is not started.
``<!-- read: REASON -->``
    A document that the linter reads alone.
``<!-- stack: NAME -->``
    It runs in that stack of the tests instead of ``nats``; `readers` says what stands for what.
``<!-- given: NAME -->``
    An execution of the playbook of that name in the folder ``given`` is what ``EXECUTION_ID`` and
    ``$ID`` stand for: one that waits, one that has failed.
``<!-- needs: PROGRAMS -->``
    It runs where these are installed, and is parsed elsewhere.
``<!-- file: NAME -->``
    The text of a file in the reader's folder, for the commands that follow on the page.
``<!-- inside: PLACE -->``
    A part of a document: where in it the part belongs.
``<!-- ends: STATUS -->``
    The playbook doesn't complete; ``ERRORS`` is completed with soft errors.
``<!-- told: RULES -->``
    What the linter says about it, by the names of its rules.
``<!-- signal: NAME JSON -->``
    A signal that the execution is sent, with its payload.
``<!-- exits: CODE -->``
    The exit code of the commands, when it isn't 0; several with ``or`` between them, where it
    depends on what else is on the stack.
``<!-- with: JSON -->``
    The payload that the playbook is started with.

A line ``Result: `JSON` `` behind a playbook is the result of the execution.
"""

import json
import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from noetl_contract.json import Json, JsonObject

ROOT = Path(__file__).resolve().parents[2]

_MARKS = (
    *("not run", "parsed", "registered", "read", "stack", "given", "needs"),
    *("file", "inside", "ends", "told", "signal", "exits", "with"),
)
_FENCE = re.compile(
    rf"(?P<marks>(?:^ *<!-- (?:{'|'.join(_MARKS)}): .*? -->\n)*)"
    r"^(?P<indent> *)(?P<fence>````?)(?P<language>[\w-]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)$"
    r"(?P<behind>(?:\n+Result: `[^`]+`)?)",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"^ *<!-- ([a-z ]+): (.*?) -->$", re.MULTILINE)
_RESULT = re.compile(r"Result: `([^`]+)`")
_DOCUMENT = re.compile(r"^apiVersion: noetl", re.MULTILINE)
# Data, shown and not run: answers, diagrams, and what other checks read.
_SHOWN = frozenset({"", "console", "diff", "json", "python", "text", "toml", "sql", "ini"})
RUN = frozenset({"sh", "yaml"})


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of one page."""

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)
    result: Json = None
    has_result: bool = False

    @property
    def place(self) -> str:
        """Place of the block, as editors open it."""
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether nothing speaks against running it."""
        if any(shutil.which(one) is None for one in self.marks.get("needs", "").split()):
            return False
        return not self.marks.keys() & {"not run", "parsed", "registered", "read"}

    @property
    def is_file(self) -> bool:
        """Whether it is the text of a file for the commands that follow."""
        return "file" in self.marks

    @property
    def stack(self) -> str:
        """The stack that it runs in."""
        return self.marks.get("stack", "nats")

    @property
    def is_document(self) -> bool:
        """Whether it is a whole document of the catalog."""
        return self.language == "yaml" and bool(_DOCUMENT.search(self.text))

    @property
    def is_part(self) -> bool:
        """Whether it is a part of such a document."""
        return self.marks.get("inside", "helm").split()[0] not in {"helm", "prometheus"}

    @property
    def payload(self) -> JsonObject:
        """Payload that the playbook is started with."""
        return dict(json.loads(self.marks.get("with", "{}")))


def pages() -> list[Path]:
    """Return all pages, in the order of their names."""
    top = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")]
    # Not below their folders: what is installed there has pages of its own.
    parts = ("cli/*.md", "libs/*/*.md", "packages/*/*.md", "services/*/*.md")
    found = (
        path for part in (*parts, "docs/**/*.md", "examples/**/*.md") for path in ROOT.glob(part)
    )
    return sorted([*top, *found])


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the blocks of a page that are run, or are a file for those.

    Raises:
        ValueError: a language that nothing is known about, or a mark that isn't there.
    """
    text, page = path.read_text(), path.relative_to(ROOT).as_posix()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        language = found["language"]
        if language not in RUN | _SHOWN:
            raise ValueError(f"{page}:{line}: nothing is known about blocks of {language!r}")
        marks = dict(_MARK.findall(found["marks"]))
        if language not in RUN and "file" not in marks:
            continue
        result = _RESULT.search(found["behind"])
        yield Block(
            page=page,
            line=line,
            language=language,
            text=textwrap.dedent(found["text"]),
            marks=marks,
            result=json.loads(result[1]) if result else None,
            has_result=result is not None,
        )


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for path in pages() for block in blocks_of(path)]
