"""Placeholders, refused commands and names of databases."""

import pytest
from noetl_contract.json import Json
from noetl_projector.sql_console.targets import Target, target_of_credential, target_of_text
from noetl_projector.sql_console.text import StatementRefused, read_statement


@pytest.mark.parametrize(
    ("text", "parameters", "made", "values"),
    [
        (" SELECT 1 ", None, "SELECT 1", ()),
        ("SELECT '%s', 'a%%'", None, "SELECT '%s', 'a%%'", ()),
        ("SELECT $1, '%s'", ["a"], "SELECT $1, '%s'", ("a",)),
        ("SELECT %s, %s", [1, None], "SELECT $1, $2", (1, None)),
        ("SELECT %s", 5, "SELECT $1", (5,)),
        (
            "SELECT %(b)s, %(a)s, %(b)s",
            {"a": 1, "b": 2, "c": 3},
            "SELECT $1, $2, $1",
            (2, 1),
        ),
        (
            "SELECT %s WHERE x LIKE 'a%%' AND 5 %% 2",
            [1],
            "SELECT $1 WHERE x LIKE 'a%' AND 5 % 2",
            (1,),
        ),
        ("SELECT '%s', \"%s\", $$%s$$, $x$ %s $x$ -- %s\n, %s", [1], None, (1,)),
        ("SELECT E'it\\'s %s', %s /* %s */", [1], "SELECT E'it\\'s %s', $1 /* %s */", (1,)),
        ("SELECT 1", {}, "SELECT 1", ()),
    ],
)
def test_placeholders_get_numbers(
    text: str, parameters: Json, made: str | None, values: tuple[Json, ...]
) -> None:
    statement = read_statement(text, parameters=parameters, max_bytes=3000)

    expected = text.removesuffix("%s") + "$1" if made is None else made
    assert (statement.text, statement.parameters) == (expected, values)


@pytest.mark.parametrize(
    ("text", "parameters", "reason"),
    [
        ("COMMIT", None, "COMMIT is not possible here: each call is one transaction"),
        ("/* x */ -- y\n ; begin", None, "BEGIN is not possible here"),
        ("start transaction", None, "START is not possible here"),
        ("COPY noetl.event TO PROGRAM 'sh'", None, "COPY is not possible here"),
        ("/* /* */ */ COPY t TO '/x'", None, "COPY is not possible here"),
        ("-- a\rCOPY t TO '/x'", None, "COPY is not possible here"),
        ("SELECT 1 " + "+-" * 32, None, "The statement has an operator of more than 63 characters"),
        ("SELECT 1" + "/**/" * 501, None, "The statement has more than 500 comments"),
        ("SELECT 1" + "/*" * 501, None, "The statement has more than 500 comments"),
        ("SELECT %(a)s", [1], "placeholders like %(name)s need an object"),
        ("SELECT %s", {"a": 1}, "placeholders like %s need a list"),
        ("SELECT %(a)s", {"b": 1}, "there is no parameter called a"),
        ("SELECT $1", {"b": 1}, "parameters by name need placeholders like %(name)s"),
    ],
)
def test_other_statements_are_refused(text: str, parameters: Json, reason: str) -> None:
    with pytest.raises(
        StatementRefused, match="^" + reason.replace("(", r"\(").replace(")", r"\)")
    ):
        read_statement(text, parameters=parameters, max_bytes=3000)


def test_a_long_text_is_refused_unread() -> None:
    with pytest.raises(StatementRefused, match=r"The statement has 101 bytes; .* allows 100"):
        read_statement("SELECT '" + "é" * 46 + "' ", parameters=None, max_bytes=100)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (
            "postgresql://u%40x:p%2Fw@db:6543/app?sslmode=require&sslkey=/etc/key",
            Target("db", 6543, "u@x", "p/w", "app", "require"),
        ),
        ("postgres://db", Target("db")),
        (
            "host=db port=5 user='a b' password='it\\'s' dbname=x options=-csearch_path=y",
            Target("db", 5, "a b", "it's", "x"),
        ),
    ],
)
def test_connection_strings_name_a_server(text: str, target: Target) -> None:
    assert target_of_text(text) == target
    assert "p/w" not in repr(target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "mysql://db/x",
        "postgresql:///x",
        "postgresql://db:port/x",
        "host=/var/run",
        "host=db port=x",
        "host=db sslmode=maybe",
        "host=db 'secret",
    ],
)
def test_other_connection_strings_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        target_of_text(text)

    assert "secret" not in refused.value.message


def test_credentials_name_their_fields_in_two_ways() -> None:
    short = {"host": "db", "port": 5, "user": "u", "password": "p", "database": "d"}
    long = {"db_host": "db", "db_port": "5", "db_user": "u", "db_password": "p", "db_name": "d"}

    assert target_of_credential(short) == target_of_credential(long)
    assert target_of_credential(long) == Target("db", 5, "u", "p", "d")
    with pytest.raises(StatementRefused, match="names no host"):
        target_of_credential({"user": "u"})
