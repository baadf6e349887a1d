"""The real command line as a child process: its arguments and its output."""

import json
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from noetl_contract.json import Json
from noetl_testkit.stack import Stack, finish
from noetl_testkit.waiting import PATIENCE_SECONDS

QUICK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: quick, path: PATH}
workload: {a: 1, b: {c: 2, d: 3}}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""
FAILS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fails, path: PATH}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: each}]}
  - step: each
    loop: {in: "{{ start.nothing }}", iterator: row}
    tool: {kind: noop}
"""
# Below "system/" it goes to a pool that has no worker here, and so it neither ends nor computes.
WAITS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waits, path: PATH}
workflow:
  - step: start
    tool: {kind: noop}
"""
PARENT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: PATH}
workflow:
  - step: start
    tool: {kind: playbook, path: system/PATH/waits, return_step: start}
"""
_UV = Path(__file__).parents[3] / ".uv" / "bin" / "uv"
_COLOURS = re.compile(r"\x1b\[\d+m")


@dataclass(frozen=True)
class Cli:
    """The real binary in a home of its own, and the options that lead it to the server."""

    binary: Path
    home: Path
    stack: Stack
    options: tuple[str, ...] = ()
    root: str = "cli"
    """Beginning of the paths of playbooks, so that tests don't meet."""

    def __call__(self, *arguments: str, code: int = 0, said: str = "", answer: str = "") -> str:
        """Run a command that must end with the code and say the words; return its output.

        A success says them on stdout. So does nothing that was refused, even where the code is 0,
        so stderr is returned when nothing is on stdout.
        """
        out, err = self.ended(*arguments, code=code, answer=answer)
        assert said in (out if code == 0 else err), (arguments, out, err)
        return out or err

    def ended(self, *arguments: str, code: int = 0, answer: str = "") -> tuple[str, str]:
        """Run a command that must end with the code and return its stdout and stderr."""
        done = subprocess.run(
            [str(self.binary), *self.options, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            input=answer,
            # In the checkout the CLI would take "examples/hello" for the file of that name.
            cwd=self.home,
            env={
                "HOME": str(self.home),
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "NOETL_HOST": "127.0.0.1",
                "NOETL_PORT": str(self.stack.port),
            },
        )
        out, err = _COLOURS.sub("", done.stdout), _COLOURS.sub("", done.stderr)
        assert done.returncode == code, (arguments, out, err)
        return out, err

    def json(self, *arguments: str) -> Json:
        """Run a command and return its output as JSON."""
        return json.loads(self.ended(*arguments)[0])

    def start(self, path: str, *arguments: str) -> str:
        """Start a playbook and return the execution's id as it was printed."""
        body = self.json("run", path, "-r", "distributed", "--json", *arguments)
        assert set(body) == {"execution_id", "status", "commands_generated"}
        assert isinstance(body["execution_id"], str)
        return str(body["execution_id"])

    def end(self, path: str, *arguments: str) -> str:
        """Start a playbook, wait until it ended, and return the execution's id."""
        execution_id = self.start(path, *arguments)
        with self.stack.client() as client:
            finish(client, int(execution_id))
        return execution_id

    def register(self, text: str, name: str, *, above: str = "") -> str:
        """Register a playbook under this root and return its path."""
        path = f"{above}{self.root}/{name}"
        file = self.home / "one.yaml"
        file.write_text(text.replace("PATH", path))
        self("register", "playbook", "--file", str(file), said="Playbook registered successfully")
        return path


def installed_in(folder: Path) -> Path:
    """Install the real binary into a throwaway environment: it must not share ours."""
    venv.create(folder)
    done = subprocess.run(
        [_UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "noetl"],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"the package index is not reachable: {done.stderr.decode()[-200:]}")
    return folder
