"""Requests that schemathesis generates from the OpenAPI document, against a running stack.

By hand: ``make schemathesis``, or ``make schemathesis args="--max-examples 100"``;
arguments go to ``schemathesis run``. What counts as a failure is in ``schemathesis.toml``.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from golden import TOKEN
from noetl_testkit.stack import Stack, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS

__all__ = ["defects", "generate"]

FOLDER = Path(__file__).parent
EVERYTHING = ("--phases", "examples,coverage,fuzzing", "--max-examples", "30")


def generate(stack: Stack, arguments: Sequence[str]) -> tuple[int, str]:
    """Run schemathesis and return its exit code and what it printed."""
    with tempfile.TemporaryDirectory(prefix="noetl-generated-") as folder:
        # Read here: schemathesis would wait for it no longer than 10 s.
        document = Path(folder) / "openapi.json"
        with stack.client(TOKEN) as client:
            document.write_bytes(client.get("/schema/openapi.json").raise_for_status().content)
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={FOLDER / 'schemathesis.toml'}",
            "run",
            str(document),
            f"--request-timeout={PATIENCE_SECONDS:.0f}",
            "--no-color",
            *arguments,
        ]
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            timeout=PATIENCE_SECONDS,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "NOETL_SCHEMATHESIS_URL": stack.url,
                "NOETL_INTERNAL_API_TOKEN": TOKEN,
            },
        )
    return done.returncode, done.stdout.decode(errors="replace")


def defects(stack: Stack) -> list[str]:
    """Return what services logged about requests that failed by their own fault."""
    logs = (stack.data / "logs").glob("*.log")
    lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
    return [line for line in lines if "request_failed" in line and "Database error: " not in line]


def main() -> int:
    """Run everything, or what the arguments say."""
    with running_stack(environment={"NOETL_INTERNAL_API_TOKEN": TOKEN}) as stack:
        code, printed = generate(stack, [*EVERYTHING, *sys.argv[1:]])
        sys.stdout.write(printed)
        found = defects(stack)
        sys.stdout.write("".join(f"{line}\n" for line in found))
        return code or bool(found)


if __name__ == "__main__":
    sys.exit(main())
