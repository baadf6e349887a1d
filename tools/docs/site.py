"""Build the site of the documents, with its search, into ``build/site``; ``--serve`` shows it.

Sphinx lives in an environment of its own in ``.uv``, made on the first run from a lock of its own:
nothing that runs, tests or ships needs it. A warning is an error. ``PORT=0`` takes any free port.
"""

import argparse
import functools
import hashlib
import os
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "tools" / "docs" / "site.txt"
ENVIRONMENT = ROOT / ".uv" / "docs"
OUT = ROOT / "build" / "site"

_FIRST_PAGE = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n'


def install() -> None:
    """Make the environment, unless it is that of today's lock."""
    stamp = ENVIRONMENT / "lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    uv = str(ROOT / ".uv" / "bin" / "uv")
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    if Path("/etc/ssl/certs/ca-certificates.crt").exists():
        environment["UV_SYSTEM_CERTS"] = "true"
    run = functools.partial(subprocess.run, check=True, env=environment)
    run([uv, "venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, ENVIRONMENT])
    python = ENVIRONMENT / "bin" / "python"
    run([uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", LOCK])
    stamp.write_text(wanted)


def build() -> int:
    """Build the pages that have changed, and return the exit code of Sphinx."""
    python = str(ENVIRONMENT / "bin" / "python")
    done = subprocess.run(  # noqa: S603 (our own program)
        [python, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-b", "html", ".", OUT],
        cwd=ROOT,
        check=False,
    )
    if done.returncode == 0:
        (OUT / "index.html").write_text(_FIRST_PAGE)
    return done.returncode


def serve(port: int) -> None:
    """Serve the built pages on this machine until Ctrl-C."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(OUT))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl-C ends it)\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("\n")


def main() -> int:
    """Build, and serve if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve the site afterwards")
    port: int | None = parser.parse_args().serve
    install()
    code = build()
    if code == 0 and port is not None:
        serve(port)
    return code


if __name__ == "__main__":
    sys.exit(main())
