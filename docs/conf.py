"""How Sphinx makes the site of this folder; `make docs` runs it.

The pages are written to be read in the repository too, so what only the site needs is here: the
order of the pages. The source is the whole repository, because pages link to files all over it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
HERE = ROOT / "docs"

project = "NoETL control plane"
author = "The NoETL authors"
extensions = ["myst_parser"]
root_doc = "docs/index"
# Pages outside of this folder that ours link to.
OTHERS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/**.md")
include_patterns = ["docs/**.md", *OTHERS]
# Nothing is looked for in the rest of the repository.
exclude_patterns = [
    one.name for one in ROOT.iterdir() if one.is_dir() and one.name not in {"docs", "examples"}
]
myst_heading_anchors = 4
# Blocks of our pages leave things out with `…`, which no language allows.
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "text"
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# Fonts and scripts are those of the theme, which has them all in its package.
html_theme_options = {"footer_icons": []}

# The order of the pages by section. A folder stands for its index and all of its pages by name; a
# page that is named nowhere comes last.
NAVIGATION = {
    "Begin": ("tutorial/", "guarantees", "comparison", "moving-in"),
    "Playbooks": (
        *(
            "language/",
            "values",
            "tools/",
            "libraries",
            "plugins",
            "playbooks",
            "failures",
            "waiting",
            "stopping",
        ),
        *("schedules", "triggers", "results"),
    ),
    "Use": (
        "command-line",
        "console",
        "live-output",
        "web-ui",
        "client",
        "mcp-server",
        "api",
        "worker-protocol",
    ),
    "Secure": ("credentials", "secrets", "secret-providers", "access", "broker"),
    "Operate": ("operations/", "configuration", "metrics", "messages", "sizing", "benchmarks"),
    "Understand": ("architecture", "glossary", "rules", "fast-paths", "model", "adr/"),
}


def sections(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the caption and the names of the pages of each section."""
    left = {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.md")}
    left -= {"index"}
    for caption, names in NAVIGATION.items():
        pages = [page for name in names for page in _pages(name, left)]
        folders = tuple(name for name in names if name.endswith("/"))
        left -= {page for page in left if page in names or page.startswith(folders)}
        yield caption, pages
    if left:
        yield "More", sorted(left)


def _pages(name: str, there: set[str]) -> list[str]:
    if not name.endswith("/"):
        return [name] if name in there else []
    index = f"{name}README"
    return [index] if index in there else sorted(page for page in there if page.startswith(name))


def _children(docname: str, root: Path) -> list[str]:
    """Return the pages below a folder's index."""
    folder = (root / docname).parent
    return sorted(page.stem for page in folder.glob("*.md") if page.stem != "README")


def add_contents(_app: "Sphinx", docname: str, source: list[str]) -> None:
    """Put the contents, which only the site shows, behind the index of the site and of folders."""
    if docname == "docs/index":
        for caption, pages in sections(HERE):
            source[0] += _contents([f"/docs/{page}" for page in pages], caption)
        source[0] += _contents([f"/{page}" for page in _others()], "Repository")
    elif docname.endswith("/README") and docname.startswith("docs/"):
        source[0] += _contents(_children(docname, ROOT), "")


def _others() -> list[str]:
    """Return the names of the pages outside of this folder."""
    found = [
        path for pattern in OTHERS for path in sorted(ROOT.glob(pattern.replace("**", "**/*")))
    ]
    return [path.relative_to(ROOT).with_suffix("").as_posix() for path in found]


def _contents(pages: list[str], caption: str) -> str:
    lines = [":hidden:", *([f":caption: {caption}"] if caption else []), "", *pages]
    return "\n```{toctree}\n" + "\n".join(lines) + "\n```\n"


def setup(app: "Sphinx") -> None:
    """Register what this file adds to Sphinx."""
    app.connect("source-read", add_contents)
