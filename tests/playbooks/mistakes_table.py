"""Print what the author of each broken playbook sees: in `validate`, in `run`, by the API.

Run it as `make mistakes`; it starts a stack of its own.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from noetl_engine.playbook.lint import lint
from noetl_testkit.stack import Stack, command, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_testkit.web import Response, serving

FOLDER = Path(__file__).parent / "mistakes"
_WIDTH = 150
_PROGRESS = re.compile(r"^ *[✓✗…·-] |.*execution \d+$|^starting ")


def main() -> None:
    """Run every playbook of the folder, or those named, one after the other."""
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.yaml"))
    with serving(lambda _: Response({"error": "broken"}, 500)) as service, running_stack() as stack:
        login = {"name": "mistakes_db", "type": "postgres", "data": stack.database_login()}
        with stack.client() as client:
            client.post("/api/credentials", json=login).raise_for_status()
        for name in names:
            _print(name, stack, service.url)


def _print(name: str, stack: Stack, service: str) -> None:
    file = FOLDER / f"{name}.yaml"
    print(f"\n{name}")
    found = [one for one in lint(file.read_text()) if one.severity != "info"]
    for one in found:
        _row("validate", f"{one.line}:{one.column}: {one.severity}: {one.told}")
    limit = ["--timeout", "3"] if name == "endless" else []
    where = ["--server-url", stack.url, "--set", f"service={service}"]
    run = subprocess.run(
        [*command(), "run", str(file), *where, *limit],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    said = [line for line in run.stderr.splitlines() if not _PROGRESS.match(line)]
    for line in said:
        _row(f"run, exit {run.returncode}", line.replace(f"{FOLDER}/", ""))
    if not said:
        _row(f"run, exit {run.returncode}", run.stdout.strip()[:_WIDTH])
    begun = re.search(r"execution (\d+)", run.stderr)
    if begun is None:
        return
    with stack.client() as client:
        status = client.get(f"/api/executions/{begun[1]}/status").json()
    for key in ("cause", "soft_error"):
        if key in status:
            _row(f"API, {key}", json.dumps(status[key], ensure_ascii=False))


def _row(place: str, text: str) -> None:
    shown = text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
    print(f"  {place:<16} {shown}")


if __name__ == "__main__":
    main()
