"""The tests of this package with its driver and against fakesnow: ``make snowflake``.

Two environments are made in ``build/snowflake``: one with the driver, over all that ``.venv`` has,
and one for fakesnow, which needs an older driver. Arguments go to pytest.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
PACKAGE = TOP / "packages" / "noetl_tool_snowflake"
PLACE = TOP / "build" / "snowflake"
UV = TOP / ".uv" / "bin" / "uv"
# The driver first, then what the workspace has, with the paths of its packages.
LAYER = "import site; site.addsitedir({folder!r})\n"
PROGRAM = "#!{python}\nfrom noetl.main import main\n\nmain()\n"


def environment(name: str, lock: Path) -> Path:
    """Return the interpreter of an environment with a lock's packages; made anew for a new lock."""
    folder = PLACE / name
    python = folder / "bin" / "python"
    stamp = folder / ".lock"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    run(UV, "venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, folder)
    run(UV, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock)
    stamp.write_text(wanted)
    return python


def with_workspace(python: Path) -> None:
    """Put the workspace and this package into an environment."""
    site = next((python.parents[1] / "lib").glob("python*")) / "site-packages"
    below = next((TOP / ".venv" / "lib").glob("python*")) / "site-packages"
    (site / "workspace.pth").write_text(LAYER.format(folder=str(below)))
    program = python.with_name("noetl-server")
    program.write_text(PROGRAM.format(python=python))
    program.chmod(0o755)
    # Programs of other packages are looked for beside the interpreter.
    for other in (TOP / ".venv" / "bin").iterdir():
        place = python.with_name(other.name)
        if not place.exists() and not other.name.startswith(("python", "activate")):
            place.symlink_to(other)
    run(UV, "pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", PACKAGE)


def run(*command: str | Path) -> None:
    """Run a program, which has to succeed."""
    subprocess.run([*map(str, command)], check=True, cwd=TOP)


def main() -> int:
    """Make both environments and run the tests."""
    python = environment("driver", PACKAGE / "requirements.txt")
    with_workspace(python)
    server = environment("server", PACKAGE / "tests" / "server.txt")
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", PACKAGE, *sys.argv[1:]],
        check=False,
        cwd=TOP,
        env={**os.environ, "FAKESNOW_PYTHON": str(server)},
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
