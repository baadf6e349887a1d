"""The reference of the language has every key and every filter, and its examples hold."""

import json
import re

import pytest
from fenced import ROOT
from language import levels_without_table
from noetl_template import TemplateError, render_server, render_worker
from noetl_template.filters import filters_of
from noetl_template.values import SERVER, WORKER

_PAGE = (ROOT / "docs" / "language" / "templates.md").read_text()
_ROW = re.compile(r"^\| `(\w+)` \| `(\{\{.*?\}\})` \| `(.*?)` \| (server|worker|) \|", re.MULTILINE)
FILTERS = [tuple(cell.replace("\\|", "|") for cell in row) for row in _ROW.findall(_PAGE)]


def test_every_mapping_of_the_language_has_its_table() -> None:
    assert not levels_without_table(ROOT)


def test_every_filter_has_its_row() -> None:
    known = {name for dialect in (SERVER, WORKER) for name in filters_of(dialect)}

    assert {name for name, *_ in FILTERS} == {name for name in known if name.isidentifier()}


@pytest.mark.parametrize(("name", "example", "gives", "where"), FILTERS)
def test_a_filter_gives_what_its_row_says(name: str, example: str, gives: str, where: str) -> None:
    for side, render in (("server", render_server), ("worker", render_worker)):
        if where in {"", side}:
            assert render(example, {}) == json.loads(gives)
        else:
            with pytest.raises(TemplateError, match=f"filter {name} is unknown"):
                render(example, {})
