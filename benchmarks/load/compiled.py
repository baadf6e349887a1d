"""Clients in C, compiled where there is a compiler."""

import hashlib
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path


@cache
def compiled(name: str) -> Path | None:
    """Compile a client of this folder; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    source = Path(__file__).with_name(f"{name}.c")
    text = source.read_bytes() + source.with_name("kept.h").read_bytes()
    mark = hashlib.sha256(text).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"noetl-{name}-{mark}"
    if not target.exists():
        command = [compiler, "-O2", "-D_GNU_SOURCE", "-o", str(target), str(source)]
        subprocess.run(command, check=True)
    return target
