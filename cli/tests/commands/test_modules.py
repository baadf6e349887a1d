"""Documents of plug-ins that name a file: its bytes go with them."""

from pathlib import Path

import pytest
import yaml
from noetl.commands.modules import with_module
from noetl.stack.errors import StackError
from noetl_contract.plugins.document import module_bytes
from noetl_engine.documents import lint_document

HEAD = "apiVersion: noetl.io/v2\nkind: Plugin\nmetadata: {name: a, path: p/a}\n"
WAT = '(module (memory (export "memory") 1)) ;; "ä"\n'
BINARY = b"\0asm\1\0\0\0" + bytes(50)


@pytest.mark.parametrize("name", ["'a.wat'", "a.wat", '"a.wat"'])
def test_a_text_is_put_in(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.wat").write_text(WAT)
    text = f"{HEAD}spec: {{interface: noetl.plugin/1, module: {{file: {name}}}}}\n"

    made = with_module(text, tmp_path / "a.yaml")

    assert yaml.safe_load(made)["spec"]["module"] == {"wat": WAT}
    assert lint_document(made) == []


def test_a_binary_is_packed(tmp_path: Path) -> None:
    (tmp_path / "a.wasm").write_bytes(BINARY)
    text = f"{HEAD}spec:\n  interface: noetl.plugin/1\n  module:\n    file: a.wasm # built\n"

    made = with_module(text, tmp_path / "a.yaml")

    assert module_bytes("gzip", yaml.safe_load(made)["spec"]["module"]["gzip"]) == BINARY
    assert made == with_module(text, tmp_path / "a.yaml"), "the same file is the same document"


def test_what_is_none_of_both_is_told_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "a.wasm").write_bytes(b"\xff")
    text = f"{HEAD}spec:\n  module:\n    file: a.wasm\n"

    with pytest.raises(StackError, match="is no WebAssembly module"):
        with_module(text, tmp_path / "a.yaml")
    with pytest.raises(StackError, match="can't read"):
        with_module(text.replace("a.wasm", "b.wasm"), tmp_path / "a.yaml")
    for other in ("kind: Playbook\n", HEAD, f"{HEAD}: [", text.replace("file", "wat")):
        assert with_module(other, tmp_path / "a.yaml") == other
