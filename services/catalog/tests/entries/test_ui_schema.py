"""Form fields inferred from a workload."""

import pytest
from noetl_catalog.entries.ui_schema import Form, read_form
from noetl_contract.json import Json, JsonObject

PLAIN = {
    "description": None,
    "secret": False,
    "credential_glob": None,
    "options": None,
    "children": None,
}


def field(name: str, kind: str, default: Json, **changed: Json) -> Json:
    known = {"name": name, "kind": kind, "default": default} | PLAIN
    return known | changed


def shown(form: Form) -> list[JsonObject]:
    return [one.model_dump() for one in form.fields]


def fields_of(content: str) -> list[JsonObject]:
    return shown(read_form(content))


def test_the_contracts_example() -> None:
    form = read_form(
        "metadata: {name: form, path: demo/form}\n"
        "workload:\n"
        "  level: info  # ui:enum=[debug,info]\n"
        "  db:\n"
        "    host: h\n"
        "    port: 5432  # ui:secret\n"
    )

    assert (form.title, form.description, form.is_exposed) == ("form", None, False)
    assert shown(form) == [
        field("level", "enum", "info", options=["debug", "info"]),
        field(
            "db",
            "object",
            {"host": "h", "port": 5432},
            children=[field("host", "string", "h"), field("port", "integer", 5432)],
        ),
    ]
    assert list(shown(form)[0]) == [
        "name",
        "kind",
        "default",
        "description",
        "secret",
        "credential_glob",
        "options",
        "children",
    ]


@pytest.mark.parametrize(
    ("text", "kind", "default"),
    [
        ("yes", "string", "yes"),
        ("true", "boolean", True),
        ("18446744073709551615", "integer", 18446744073709551615),
        ("1e3", "number", 1000.0),
        (".inf", "number", None),
        ("-.INF", "number", None),
        (".nan", "number", None),
        ("'.nan'", "string", ".nan"),
        ("", "null", None),
        ("~", "null", None),
        ("2026-06-15", "string", "2026-06-15"),
        ("007", "string", "007"),
        ("[1, a]", "array", [1, "a"]),
    ],
)
def test_kinds_follow_the_values(text: str, kind: str, default: Json) -> None:
    assert fields_of(f"workload:\n  x: {text}\n") == [field("x", kind, default)]


@pytest.mark.parametrize(
    ("comment", "changed"),
    [
        ("# ui:secret", {"secret": True}),
        ("# ui:secret please", {"secret": True}),
        ("#ui:secret=no", {"secret": True}),
        ("# ui:enum = [a, 'b', \"c\", ]", {"kind": "enum", "options": ["a", "b", "c"]}),
        ("# ui:enum=[]", {"kind": "enum", "options": []}),
        ("# ui:enum=only", {"kind": "enum", "options": ["only"]}),
        ("# ui:enum", {"kind": "enum", "options": [""]}),
        ("# ui:credential='pg_*'", {"credential_glob": "pg_*"}),
        ("# ui:credential=", {}),
        ('# ui:description="What: it is"  # ui:secret', {"description": "What: it is"}),
        ("# ui:description=a b\r", {"description": "a b"}),
        ("# ui:colour=red", {}),
        ("# ui: secret", {}),
    ],
)
def test_directives(comment: str, changed: JsonObject) -> None:
    if "# ui:secret" in comment[3:]:
        changed = changed | {"secret": True}

    assert fields_of(f"workload:\n  x: v  {comment}\n") == [field("x", "string", "v") | changed]


def test_directives_belong_to_the_first_deeper_indent() -> None:
    content = (
        "workload:\n"
        "    # a comment fixes the indent\n"
        "    a: 1 # ui:secret\n"
        "    b:\n"
        "      a: 2 # ui:description=nested\n"
        "    'c': 3 # ui:secret\n"
        "# column 0 ends the block\n"
        "    d: 4 # ui:secret\n"
    )

    secrets = {one["name"]: one["secret"] for one in fields_of(content)}

    assert secrets == {"a": True, "b": False, "c": False, "d": False}


def test_another_workload_key_can_overwrite_directives() -> None:
    content = (
        "workload:\n  a: 1 # ui:description=first\n"
        "workflow:\n- step: s\n  workload:\n    a: 1 # ui:description=second\n"
    )

    assert fields_of(content) == [field("a", "integer", 1, description="second")]


def test_what_the_document_says_about_itself() -> None:
    form = read_form("metadata: {name: n, description: '**d**', exposed_in_ui: true}\n")
    other = read_form("metadata: {name: 5, description: [], exposed_in_ui: 'true'}\n")

    assert (form.title, form.description, form.is_exposed) == ("n", "**d**", True)
    assert (other.title, other.description, other.is_exposed) == (None, None, False)


@pytest.mark.parametrize(
    "content",
    ["", "  ", "a: [", "- 1", "workload: 5", "workload: [1]", "metadata: 7", "x: 1\nx: 2"],
)
def test_documents_without_a_form_are_no_errors(content: str) -> None:
    form = read_form(content)

    assert (form.title, form.is_exposed, list(form.fields)) == (None, False, [])
