"""Starts a stack for a measurement; prints where it is, and stops it when its input is closed.

It runs under the interpreter of any checkout, so that two can be compared. The stack's own worker
serves a pool of its own, to which nothing goes.
"""

import json
import sys

from noetl_testkit import stack as e2e

if __name__ == "__main__":
    with e2e.running_stack(environment={"WORKER_POOL_NAME": "idle"}) as running:
        pids = {name: one["pid"] for name, one in running.services().items()}
        shown = {"url": running.url, "dsn": running.dsn(), "pids": pids, **running.values()}
        print(json.dumps(shown), flush=True)
        sys.stdin.read()
