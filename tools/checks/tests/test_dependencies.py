from collections.abc import Callable
from pathlib import Path

import dependencies

PROJECT = """[project]
name = "noetl-outbox"
version = "0.1.0"
dependencies = [{names}]
"""


def test_imports_are_declared_and_declarations_imported(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("services/outbox/src/noetl_outbox/__init__.py", "import orjson\nimport httpx\n")
    plant("services/outbox/pyproject.toml", PROJECT.format(names='"orjson", "httpx"'))
    assert list(dependencies.find(tmp_path)) == []

    plant("services/outbox/pyproject.toml", PROJECT.format(names='"orjson", "pydantic"'))
    assert sorted(line.partition(" DEP")[2] for line in dependencies.find(tmp_path)) == [
        "002 'pydantic' defined as a dependency but not used in the codebase",
        "003 'httpx' imported but it is a transitive dependency",
    ]
