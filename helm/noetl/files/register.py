"""Register the documents of a folder with an edge, those that it has already apart.

Waits until the edge answers. NOETL_SERVER_URL is its address; NOETL_INTERNAL_API_TOKEN, or the file
that NOETL_INTERNAL_API_TOKEN_FILE names, is what it is shown. Needs nothing but Python, so that the
image of the migrations can run it.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_PATIENCE_SECONDS = 300  # of the whole run
_ANSWER_SECONDS = 30
_PAUSE_SECONDS = 2
_NOT_FOUND = 404
_FOR_NOW = frozenset({429, 502, 503, 504})


def token() -> str:
    """Return what the edge is shown: of its variable, or of the file that one names."""
    if file := os.environ.get("NOETL_INTERNAL_API_TOKEN_FILE"):
        return Path(file).read_text().rstrip("\r\n")
    return os.environ["NOETL_INTERNAL_API_TOKEN"]


def ask(path: str, body: dict[str, str], deadline: float) -> tuple[int, dict[str, object]]:
    """Return status and body of an answer; ask again while the edge can't answer for now.

    Raises:
        TimeoutError: it couldn't until the deadline, which is one of `time.monotonic`.
    """
    request = urllib.request.Request(  # noqa: S310 (the address is the operator's)
        os.environ["NOETL_SERVER_URL"].rstrip("/") + path,
        data=json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {token()}",
            "content-type": "application/json",
        },
    )
    while True:
        left = min(_ANSWER_SECONDS, max(deadline - time.monotonic(), 1))
        try:
            with urllib.request.urlopen(request, timeout=left) as answer:  # noqa: S310 (as above)
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in _FOR_NOW:
                return error.code, {"error": error.read().decode(errors="replace")}
            trouble = str(error)
        except (OSError, ValueError) as error:
            trouble = str(error)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the edge did not answer: {trouble}")
        time.sleep(_PAUSE_SECONDS)


def register(path: str, content: str, deadline: float) -> str:
    """Register a document; return what became of it.

    Raises:
        TimeoutError: the edge could not answer until the deadline.
        ValueError: the edge refused it.
    """
    status, entry = ask("/api/catalog/resource", {"path": path}, deadline)
    if status == 200 and entry.get("content") == content:
        return "is there already"
    if status not in {200, _NOT_FOUND}:
        raise ValueError(f"{path}: {status} {entry.get('error')}")
    body = {"content": base64.b64encode(content.encode()).decode()}
    status, answer = ask("/api/catalog/register", body, deadline)
    if status >= 400 or answer.get("problems"):
        raise ValueError(f"{path}: {status} {answer.get('error') or answer.get('problems')}")
    return f"is version {answer['version']} now"


def main(folder: str) -> int:
    """Register the documents in the order of their files: `<number>-<path with dots>.yaml`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for file in sorted(Path(folder).glob("*.yaml")):
        path = file.stem.partition("-")[2].replace(".", "/")
        try:
            print(path, register(path, file.read_text(), deadline), flush=True)  # noqa: T201 (the job's log)
        except (TimeoutError, ValueError) as error:
            print(error, file=sys.stderr)  # noqa: T201 (as above)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
