"""Cut-over and back while clients go on: `make moving`. Prints the figures of docs/moving-in.md."""

import argparse
import asyncio
import secrets
import sys
import threading
import time
from contextlib import closing

from cut_over import (
    EVERYTHING_THERE,
    HELLO,
    NOTHING_THERE,
    STARTS_THERE,
    Address,
    Traffic,
    books,
    running_edges,
)
from noetl_testkit.legacy import running_legacy
from noetl_testkit.oracles.judging import check_digests, judge
from noetl_testkit.stack import running_stack
from test_cut_over import command

ROUTES = (EVERYTHING_THERE, STARTS_THERE, "GET /api/executions", NOTHING_THERE)
_STALL_SECONDS = 10.0


def main() -> int:
    """Move the address there and back some times; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="at each setting")
    given = parser.parse_args()
    path = f"moving/{secrets.token_hex(4)}"
    with running_stack() as stack, running_legacy() as legacy:
        with closing(Address(legacy.url)) as first:
            for edition in range(1, 4):
                text = HELLO.format(path=path, edition=edition)
                first.post("/api/catalog/register", {"content": text}).raise_for_status()
        code, report = command("import", "--from", legacy.url, "--data", str(stack.data))
        print("import", code, {name: report[name]["new"] for name in ("catalog", "credentials")})
        with running_edges(stack, legacy, ROUTES) as urls:
            traffics = _drive(urls, path, given)
            code, told = command("shadow", "--old", legacy.url, "--new", urls[0])
            asked = sum(one["asked"] for one in told["routes"].values())
            print(f"shadow: exit code {code}, {asked} reads compared")
        found = books(traffics, stack.url, legacy, path)
        there = sum(len(one.there) for one in traffics)
        here = sum(len(one.here) for one in traffics)
        troubles = [text for one in traffics for text in one.troubles]
        print(f"{there} executions began there, {here} here; ends {dict(found.ends)}")
        print(f"lost {len(found.lost)}, doubled {len(found.doubled)}, unknown {len(found.unknown)}")
        print(f"troubles of clients: {len(troubles)} {troubles[:3]}")
        accepted = {number for one in traffics for number in one.here}
        findings = asyncio.run(judge(stack.dsn(), accepted=accepted, stall_limit=_STALL_SECONDS))
        check_digests(findings, data=stack.data)
        print(findings.line(), *findings.problems, sep="\n")
        is_whole = found.are_even and not troubles and set(found.ends) == {"COMPLETED"}
        return 0 if is_whole and there and here and not findings.problems else 1


def _drive(urls: list[str], path: str, given: argparse.Namespace) -> list[Traffic]:
    """Let clients go on while the address moves; return their requests and answers."""
    addresses = [Address(urls[0]) for _ in range(given.clients)]
    traffics = [Traffic(address, path) for address in addresses]
    over = threading.Event()
    threads = [threading.Thread(target=one.run_until, args=[over]) for one in traffics]
    for thread in threads:
        thread.start()
    try:
        for _ in range(given.rounds):
            for url in [*urls, *reversed(urls)]:
                for address in addresses:
                    address.move(url)
                time.sleep(given.seconds)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for address in addresses:
            address.close()
    return traffics


if __name__ == "__main__":
    sys.exit(main())
