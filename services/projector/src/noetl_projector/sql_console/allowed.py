"""Checks of statements for the SQL route: reads, and writes where a setting allows them.

They keep clients from disturbing others. A statement's role decides what it may read.
"""

import re
from collections.abc import Iterator

from noetl_common.errors import Invalid
from noetl_pg.sql.text import tokens

# One call is one transaction that we begin and end.
_OUR_BUSINESS = frozenset(
    {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"}
)
_READING = ("select", "with", "values", "table", "explain", "show")
# PostgreSQL refuses these in a read-only transaction, and says so in words that clients know.
_WRITING = (
    *("insert", "update", "delete", "merge", "truncate", "create", "alter", "drop"),
    *("comment", "grant", "revoke", "refresh"),
)
_WRITING_ONLY = ("analyze", "call")
# Functions with an effect beside their result, and those that run a text as a statement.
_NOT_HERE = re.compile(
    r"""
    pg_(try_)?advisory_\w+ | pg_(cancel|terminate)_backend | pg_notify | set_config
    | dblink\w* | lo_\w+ | loread | lowrite
    | pg_read_\w+ | pg_ls_\w+ | pg_stat_file | pg_file_\w+ | pg_hba_file_rules
    | (query|table|cursor|schema|database)_to_xml\w*
    | ts_stat | ts_rewrite | crosstab\w* | connectby
    | pg_logical_\w+ | pg_replication_\w+ | pg_switch_wal | pg_promote | pg_backup_\w+
    | pg_create_\w+ | pg_drop_\w+ | pg_copy_\w+ | pg_reload_conf | pg_rotate_logfile\w*
    | pg_stat_reset\w* | pg_log_\w+ | pg_export_snapshot
    """,
    re.VERBOSE,
)
_OPERATORS = frozenset("~!@#^&|`?+-*/%<>=")
_OPERATOR_LENGTH = 63
_COMMENTS = 500


class StatementRefused(Invalid):
    """The statement or its parameters are not for this route."""

    template = "{reason}"


def check_statement(text: str, *, may_write: bool) -> None:
    """Check that this route may run a statement.

    Raises:
        StatementRefused: a command or a function that is not for this route, or a text that
            PostgreSQL would read for long.
    """
    _check_command(_first_word(text).lower(), may_write=may_write)
    _refuse_slow(text)
    for name in _called(text):
        if _NOT_HERE.fullmatch(name):
            raise StatementRefused(reason=f"{name}() is not possible here")


def _check_command(command: str, *, may_write: bool) -> None:
    if command in _OUR_BUSINESS:
        raise StatementRefused(
            reason=f"{command.upper()} is not possible here: each call is one transaction"
        )
    known = (*_READING, *_WRITING_ONLY, *_WRITING) if may_write else _READING
    if command and command not in (*known, *_WRITING):
        words = ", ".join(word.upper() for word in known)
        raise StatementRefused(
            reason=f"{command.upper()} is not possible here: a statement begins with one of {words}"
        )


def _first_word(text: str) -> str:
    """Return the command word, after empty statements and parentheses."""
    for kind, begin, end in tokens(text):
        if kind == "word":
            return text[begin:end]
        if kind != "space" and text[begin] not in "(;":
            break
    return ""


def _refuse_slow(text: str) -> None:
    """Refuse texts that PostgreSQL's scanner reads in quadratic time.

    It looks at a whole run of operator characters at once, and takes one character or the start of
    one comment of it; nothing interrupts it.
    """
    comments = operator = 0
    for kind, begin, end in tokens(text):
        is_operator = kind == "other" and text[begin] in _OPERATORS
        operator = operator + 1 if is_operator else 0
        if kind == "space":
            comments += text.count("/*", begin, end)
        if operator > _OPERATOR_LENGTH or comments > _COMMENTS:
            raise StatementRefused(
                reason=f"The statement has an operator of more than {_OPERATOR_LENGTH} characters"
                if operator
                else f"The statement has more than {_COMMENTS} comments"
            )


def _called(text: str) -> Iterator[str]:
    """Return the names before an opening parenthesis, as PostgreSQL finds them."""
    name, before = "", ""
    for kind, begin, end in tokens(text):
        if kind == "space":
            continue
        piece = text[begin:end]
        if piece == "(" and name:
            yield name
        name = ""
        if kind == "word":
            name = piece.lower()
        elif piece.startswith('"'):
            if before.lower() == "u&":
                raise StatementRefused(reason='Names like U&"…" are not possible here')
            name = piece[1:].removesuffix('"')
        before = (before + piece)[-2:]
