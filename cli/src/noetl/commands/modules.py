"""Modules of plug-ins: a document names a file, and the file's bytes go with it."""

import base64
import gzip
import json
import re
from pathlib import Path

from noetl_contract.plugins.binary import MAGIC
from noetl_contract.plugins.document import LARGEST_MODULE

from noetl.stack.errors import StackError

_IS_PLUGIN = re.compile(
    r"""^["']?kind["']?[ \t]*:[ \t]*["']?plugin\b""", re.IGNORECASE | re.MULTILINE
)


def with_module(text: str, place: Path) -> str:
    """Return a document with the module whose file it names in ``spec.module.file``.

    The name is relative to the document. Other documents come back as they are.

    Raises:
        StackError: the file can't be read, or is no module.
    """
    if _IS_PLUGIN.search(text) is None:
        return text
    found = _file_of(text)
    if found is None:
        return text
    line, name = found
    path = place.parent / name
    try:
        if path.stat().st_size > LARGEST_MODULE:
            raise StackError(f"{path} has more than {LARGEST_MODULE} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise StackError(f"can't read {path}: {error.strerror or error}") from error
    lines = text.splitlines(keepends=True)
    written = re.compile(rf"""file[ \t]*:[ \t]*(["']?){re.escape(name)}\1""")
    lines[line - 1] = written.sub(lambda _: _form_of(path, data), lines[line - 1], count=1)
    return "".join(lines)


def _file_of(text: str) -> tuple[int, str] | None:
    """Return the line and the value of the key."""
    from noetl_engine.playbook.errors import DecodeError  # noqa: PLC0415 -- the engine loads slowly
    from noetl_engine.playbook.lint.parts import below  # noqa: PLC0415
    from noetl_engine.playbook.yaml import Scalar, compose  # noqa: PLC0415

    try:
        node = below(compose(text), "spec", "module", "file")
    except DecodeError:
        return None
    return (node.line, node.text) if isinstance(node, Scalar) else None


def _form_of(path: Path, data: bytes) -> str:
    if data.startswith(MAGIC):
        # The same file is the same document.
        return f"gzip: {base64.b64encode(gzip.compress(data, mtime=0)).decode()}"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise StackError(f"{path} is no WebAssembly module, nor its text format") from error
    return f"wat: {json.dumps(text)}"
