"""Stripped libraries and programs still load and run."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from noetl_testkit.waiting import PATIENCE_SECONDS

from tools.image.strip import main, strip


def test_a_library_still_loads(tmp_path: Path) -> None:
    spec = find_spec("httptools.parser.parser")
    assert spec is not None
    assert spec.origin is not None
    library = Path(shutil.copy(spec.origin, tmp_path))

    saved = strip(library)

    assert saved > library.stat().st_size
    load = (
        f"import importlib.machinery as m; m.ExtensionFileLoader({spec.name!r}, {str(library)!r})"
    )
    code = f"{load}.create_module(m.ModuleSpec({spec.name!r}, None, origin={str(library)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)
    assert strip(library) == 0


def test_a_program_still_runs(tmp_path: Path) -> None:
    program = Path(shutil.copy("/bin/sh", tmp_path / "sh"))

    strip(program)

    said = subprocess.run(
        [program, "-c", "echo 42"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    ).stdout
    assert said == "42\n"


def test_other_files_stay_as_they_are(tmp_path: Path) -> None:
    texts = {
        "a.py": b"x = 1\n",
        "empty": b"",
        "short": b"\x7fELF\x02\x01",
        "b.so": b"\x7fELF\x01" * 80,
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)

    main(tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == texts
