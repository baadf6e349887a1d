"""Tokens and statements of SQL text."""

import pytest
from noetl_pg.sql.text import (
    code_and_quotes,
    is_row_query,
    needs_input,
    placeholders,
    split_statements,
    tokens,
)

SCRIPT = r"""
/* one; /* two; */ */
CREATE TEMP TABLE "odd;name" (a text); -- it's; here
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $body$
  BEGIN RETURN 'x;'; END; $body$;
CREATE FUNCTION g() RETURNS int LANGUAGE sql
  BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
INSERT INTO "odd;name" VALUES (f()), ('it''s; me'), (E'\';');
CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);
SELECT 1 AS a$b;$tag;
;
"""


def test_a_script_is_cut_where_the_server_cuts_it() -> None:
    heads = [statement.split("(")[0].split()[:3] for statement in split_statements(SCRIPT)]

    assert heads == [
        ["/*", "one;", "/*"],
        ["--", "it's;", "here"],
        ["CREATE", "FUNCTION", "g"],
        ["INSERT", "INTO", '"odd;name"'],
        ["CREATE", "RULE", "r"],
        ["SELECT", "1", "AS"],
        ["$tag"],
    ]


@pytest.mark.parametrize(
    "text", [SCRIPT, "", " ", "'open", "E'open\\'", "/* open", "$x$ open", "$"]
)
def test_tokens_are_the_whole_text(text: str) -> None:
    assert text == "".join(text[begin:end] for _, begin, end in tokens(text))
    assert text == "".join(piece for _, piece in code_and_quotes(text))


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        ("; ;; -- nothing; at all", []),
        ("-- a\rSELECT 1; SELECT 2", ["-- a\rSELECT 1", "SELECT 2"]),
        ("SELECT 'open; ", ["SELECT 'open;"]),
        ("SELECT e'\\';'; SELECT ne'\\';", ["SELECT e'\\';'", "SELECT ne'\\'"]),
        ("SELECT $$a;$$; SELECT $x$ $$;$$ $x$", ["SELECT $$a;$$", "SELECT $x$ $$;$$ $x$"]),
    ],
)
def test_semicolons_in_quotes_and_comments_end_nothing(text: str, statements: list[str]) -> None:
    assert split_statements(text) == statements


def test_parameters_stand_outside_of_quotes_comments_and_names() -> None:
    text = "SELECT $1, '$2', \"$3\", $$ $4 $$, a$5, $x$ $6 $x$ /* $7 /* */ $8 */ -- $9\n, $10"

    assert [number for number, _, _ in placeholders(text)] == [1, 10]
    assert [text[begin:end] for _, begin, end in placeholders(text)] == ["$1", "$10"]


def test_code_is_told_from_quotes_and_comments() -> None:
    pieces = list(code_and_quotes("SELECT %s, '%s' || $$%s$$ -- %s\n, %(a b)s"))

    assert [piece for is_code, piece in pieces if is_code] == [
        "SELECT %s, ",
        " || ",
        " ",
        ", %(a b)s",
    ]
    assert [piece for is_code, piece in pieces if not is_code] == ["'%s'", "$$%s$$", "-- %s\n"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (" select 1", True),
        ("WITH a AS (SELECT 1) TABLE a", True),
        ("VALUES (1)", False),
        ("-- a\nSELECT 1", False),
    ],
)
def test_rows_are_the_result_of_select_and_with(statement: str, *, expected: bool) -> None:
    assert is_row_query(statement) is expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("COPY t FROM STDIN", True),
        ("copy t (a) from stdin with csv", True),
        ("COPY t FROM '/stdin'", False),
        ("SELECT 'COPY t FROM STDIN'", False),
        ("COPY (SELECT 1) TO STDOUT", False),
    ],
)
def test_copy_from_the_client_is_seen(statement: str, *, expected: bool) -> None:
    assert needs_input(statement) is expected
