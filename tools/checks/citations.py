"""Citations in comments lead somewhere: to rules and their tests, and to no other document.

Rules are cited by number (``W5``) and defined in ``docs/rules.md``, which names the tests that
hold them.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from findings import files, run

RULES = Path("docs/rules.md")

_RULE = re.compile(r"(?<![\w%/.$\\'\"-])([WOLPSKRDF]\d{1,2})\b(?![\w'\"%]|-\d|\.\d)")
_DEFINED = re.compile(r"^\| ([A-Z]\d{1,2}) \|", re.MULTILINE)
TEST = re.compile(r"`[\w./-]*?(test_\w+\.py)(?:::(test_\w+))?`")
_MADE = re.compile(r"^\s*(?:async )?def (test_\w+)\(", re.MULTILINE)
# Not rules: the store, a partition of an hour, and so on.
_WORDS = {"S3": re.compile(r"\bS3\b(?!\))")}

_NAMES = "engine|worker|tools|data|dsl|gateway|messaging|operations|sharding|cli-contract"
_OUTSIDE = [
    # Names of documents that nobody who has the repository can read.
    r"\bhttp-[ab]\b",
    r"\bcli-contract\b",
    r"\bdesign(?:\.md)?,? (?:section )?(?:\d|[WOLPS]\d)",
    rf"\b(?:{_NAMES}),? (?:section )?\d+\.\d",
    rf"\b(?:{_NAMES}) [RKFC]\d",
    r"\b(?:dsl|messaging|operations|sharding|gateway|tools|engine),? (?:section )?\d{1,2}\b(?! )",
    rf"\((?:{_NAMES}) \d+(?:\.\d+)*",
    rf"\bcontract: (?:{_NAMES})\b",
    r"(?:\.\./shared|\bspec/\w+\.md)",
    r"\bsection \d",
    r"\((?:[ABC]\d)(?:[,)-])",
]
OUTSIDE = re.compile("|".join(_OUTSIDE))


def find(root: Path) -> Iterator[str]:
    """Find rules without a definition, references to other documents and tests that are gone."""
    rules = (root / RULES).read_text()
    defined = set(_DEFINED.findall(rules))
    here = Path(__file__).resolve().parent
    for path in files(root, ".py", ".sql", ".md", ".toml", ".yaml", "Makefile", "Dockerfile"):
        name = path.relative_to(root)
        if name == RULES or path.resolve().is_relative_to(here):
            continue
        for number, text in _prose(path):
            for rule in _cited(text):
                if rule not in defined:
                    yield f"{name}:{number}: {RULES} doesn't define `{rule}`"
            for outside in OUTSIDE.finditer(text):
                yield f"{name}:{number}: `{outside[0]}` is in no document of this repository"
    yield from gone_tests(root, RULES)


def _cited(text: str) -> Iterator[str]:
    for found in _RULE.finditer(text):
        rule = found[1]
        word = _WORDS.get(rule)
        if word is None or not word.match(text, found.start(1)):
            yield rule


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Return the prose of a file: comments and texts of a program, lines of anything else."""
    text = path.read_text()
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in {tokenize.COMMENT, tokenize.STRING}:
                for offset, line in enumerate(token.string.splitlines()):
                    yield token.start[0] + offset, line
        return
    for number, line in enumerate(text.splitlines(), 1):
        if path.suffix != ".sql":
            yield number, line
        elif "--" in line:
            yield number, line.partition("--")[2]


def gone_tests(root: Path, page: Path) -> Iterator[str]:
    """Find tests that a page names and that are not there."""
    made: dict[str, set[str]] = {}
    for path in files(root, ".py"):
        if "tests" in path.parts:
            made[path.name] = made.get(path.name, set()) | set(_MADE.findall(path.read_text()))
    everywhere = set().union(*made.values())
    for file, function in TEST.findall((root / page).read_text()):
        # Tests move from file to file, which `make docs` writes down; their names stay.
        if function and function not in everywhere:
            yield f"{page}: there is no test `{function}`"
        elif not function and file not in made:
            yield f"{page}: there is no file `{file}`"


if __name__ == "__main__":
    run(find)
