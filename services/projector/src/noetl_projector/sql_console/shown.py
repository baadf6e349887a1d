"""Names of tables that readers find as views without secrets (`noetl_shown`)."""

from noetl_pg.sql.text import tokens

SCHEMA = "noetl_shown"
_HIDDEN = "noetl"
_VIEWS = frozenset(
    {"event", "command", "execution", "execution_state", "result_store", "transient", "runtime"}
)


def shown_names(text: str) -> str:
    """Return a statement with ``noetl.event`` and the like as ``noetl_shown.event``.

    This is for convenience only: the role has no right to read the tables themselves.
    """
    made: list[str] = []
    taken = 0
    before: tuple[tuple[str, int], ...] = ()
    for kind, begin, end in tokens(text):
        if kind == "space":
            continue
        name = _name(text[begin:end])
        if name in _VIEWS and [word for word, _ in before] == [_HIDDEN, "."]:
            schema_begin, dot = (place for _, place in before)
            made += [text[taken:schema_begin], SCHEMA, text[dot:end]]
            taken = end
        before = (*before[-1:], (name, begin))
    return "".join((*made, text[taken:]))


def shown_path(search_path: str) -> str:
    """Return a search path on which views are found before the tables of the same name."""
    parts = [part.strip() for part in search_path.split(",")]
    return ", ".join(
        f"{SCHEMA}, {part}" if _name(part) == _HIDDEN else part for part in parts if part
    )


def _name(word: str) -> str:
    return word[1:-1] if word[:1] == word[-1:] == '"' else word.lower()
