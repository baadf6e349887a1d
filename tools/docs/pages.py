"""Write the pages that come from the code, and the dashboard; ``--check`` only names stale ones.

Another page is another line of ``PAGES``: its name and the function that returns its text.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import api_routes
import command_line
import configuration
import dashboards
import language
import metrics
import rights_table
import rules
import tool_keys
from noetl_contract.documents.messages import messages_page
from noetl_contract.documents.schemas import published_schemas

ROOT = Path(__file__).resolve().parents[2]


def _document(name: str, _root: Path) -> str:
    return json.dumps(published_schemas()[name], indent=2) + "\n"


PAGES: dict[str, Callable[[Path], str]] = {
    command_line.NAME: command_line.page,
    rights_table.NAME: rights_table.page,
    api_routes.NAME: api_routes.page,
    dashboards.NAME: dashboards.page,
    "docs/configuration.md": configuration.page,
    "docs/messages.md": lambda _: messages_page(),
    "docs/metrics.md": metrics.page,
    **{name: partial(rules.page, name) for name in rules.PAGES},
    **language.pages(ROOT),
    **tool_keys.pages(ROOT),
    **{f"docs/schemas/{name}": partial(_document, name) for name in published_schemas()},
}


def write(root: Path, pages: dict[str, Callable[[Path], str]]) -> None:
    """Write each page anew."""
    for name, page in pages.items():
        (root / name).write_text(page(root))


def stale(root: Path, pages: dict[str, Callable[[Path], str]]) -> list[str]:
    """Return the pages that differ from the ones that the code gives."""
    return [
        name
        for name, page in pages.items()
        if not (root / name).is_file() or (root / name).read_text() != page(root)
    ]


def main() -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell of stale pages")
    if not parser.parse_args().check:
        write(ROOT, PAGES)
        return 0
    old = stale(ROOT, PAGES)
    for name in old:
        sys.stdout.write(f"{name}: the code says something else now; run `make docs`\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
