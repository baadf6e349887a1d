"""Service of others while templates that stand for too many values are everywhere.

Run by hand: ``make hostile`` (``args="--others 60"`` for more). A stack runs small playbooks one
after the other, first alone, then while a playbook with a hostile template in each place where
templates stand is started again and again, one place at a time. Printed are, for each place, how
long the hostile execution took to fail by name, and the median of the others, and its ratio to
that of the quiet time; then how soon a revoked key is refused. Ends with 1 when a bar is missed.
"""

import argparse
import statistics
import sys
import threading
from pathlib import Path
from time import perf_counter

import httpx
from noetl_testkit.stack import Stack, execute, finish, register, running_stack

sys.path.insert(0, str(Path(__file__).parent))
from test_stop_everything_by_a_template import (
    DATA,
    ENDLESS,
    GOOD,
    HEAD,
    NAME,
    PLACES,
    errors_of,
)

MOST_SECONDS = 10
MOST_RATIO = 2.0
# What one turn may decide before it lets others have theirs (NOETL_TURN_SECONDS).
TURN_SECONDS = 0.1
DATA_PLACE = "payload"


class Hostile(threading.Thread):
    """Starts one hostile playbook after the other until it is stopped."""

    def __init__(self, stack: Stack, place: str) -> None:
        super().__init__(daemon=True)
        self.place = place
        self.seconds: list[float] = []
        self.wrong: list[str] = []
        self._stack = stack
        self._stop_ = threading.Event()

    def run(self) -> None:
        """Start, wait for the end, look at it."""
        path = self.place.replace(" ", "-")
        with self._stack.client() as client:
            while not self._stop_.is_set():
                begun = perf_counter()
                # As data the text is only a text, which ends well.
                execution = execute(client, f"hostile-templates/{path}", comment=ENDLESS)
                status = finish(client, execution, seconds=60)
                self.seconds.append(perf_counter() - begun)
                is_data = self.place == DATA_PLACE
                wanted = "COMPLETED" if is_data else "FAILED"
                if status != wanted or (not is_data and NAME not in errors_of(client, execution)):
                    self.wrong.append(f"{execution} {status}")

    def stop(self) -> None:
        """Start no more, and wait for the last one."""
        self._stop_.set()
        self.join(90)


def median_of_others(client: httpx.Client, number: int) -> float:
    """Run small executions one after the other; return the median of their seconds."""
    seconds = []
    for _ in range(number):
        begun = perf_counter()
        execution = execute(client, "hostile-templates/others")
        if finish(client, execution, poll_seconds=0.005) != "COMPLETED":
            raise SystemExit(f"{execution} of others did not complete")
        seconds.append(perf_counter() - begun)
    return statistics.median(seconds)


def templates(others: int) -> bool:
    """Print how others are served, place by place; return whether all bars are met."""
    is_good = True
    with running_stack() as stack, stack.client() as client:
        register(client, GOOD)
        places = {**PLACES, DATA_PLACE: DATA}
        for place, text in places.items():
            register(client, HEAD.format(path=place.replace(" ", "-")) + text)
        median_of_others(client, others)
        for place in places:
            quiet = median_of_others(client, others)
            hostile = Hostile(stack, place)
            hostile.start()
            busy = median_of_others(client, others)
            hostile.stop()
            longest = max(hostile.seconds, default=99.0)
            others_went_on = busy <= max(MOST_RATIO * quiet, quiet + TURN_SECONDS)
            met = longest < MOST_SECONDS and others_went_on and not hostile.wrong
            is_good = is_good and met
            print(
                f"{place:18} {len(hostile.seconds):3} hostile, at most {longest:5.2f} s  "
                f"others p50 {quiet * 1000:6.1f} to {busy * 1000:6.1f} ms "
                f"(ratio {busy / quiet:4.2f})  {'ok' if met else 'MISSED'} "
                f"{hostile.wrong[:3] or ''}",
                flush=True,
            )
    return is_good


def revocations(number: int) -> bool:
    """Print how long a revoked key is let in; return whether all were refused within a second."""
    seconds = []
    # Where the memory of keys lasts a minute, only the message of the revocation is faster.
    environment = {
        "NOETL_AUTH": "on",
        "NOETL_AUTH_CACHE_SECONDS": "60",
        "NOETL_RATE_LIMITING": "off",  # more keys at once than an administrator makes
    }
    with running_stack(environment=environment) as stack, stack.client() as admin:
        for _ in range(number):
            made = admin.post("/api/admin/keys", json={"name": "x", "roles": ["viewer"]})
            made.raise_for_status()
            with stack.client(made.json()["token"]) as client:
                client.get("/api/pool/status").raise_for_status()
                admin.delete(f"/api/admin/keys/{made.json()['key_id']}").raise_for_status()
                begun = perf_counter()
                while client.get("/api/pool/status").status_code != 401:
                    if perf_counter() - begun > 30:
                        break
                seconds.append(perf_counter() - begun)
    cuts = statistics.quantiles(seconds, n=100)
    print(
        f"revoked keys       {number} refused after p50 {cuts[49] * 1000:.1f} ms, "
        f"p99 {cuts[98] * 1000:.1f} ms, at most {max(seconds) * 1000:.1f} ms"
    )
    return max(seconds) < 1


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", type=int, default=25, help="executions a measurement")
    parser.add_argument("--revocations", type=int, default=200)
    parser.add_argument("--only", choices=("templates", "revocations"))
    given = parser.parse_args()
    results = []
    if given.only != "revocations":
        results.append(templates(given.others))
    if given.only != "templates":
        results.append(revocations(given.revocations))
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
