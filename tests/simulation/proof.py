"""Many seeds of the shipped code, and of each planted defect until it is found: ``make simulate``.

Ends with 1 when a seed fails, or a defect is not found within so many seeds.
"""

import argparse
import os
import re
import subprocess
import sys
from time import monotonic

_SEEDS = 10_000
"""A planted defect that no seed below this finds makes the simulation worthless."""
_COUNTED = re.compile(r"^(\d+) seeds, (\d+) failed", re.MULTILINE)


def main() -> int:
    """Run both; 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of seeds of the shipped code")
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    parser.add_argument("--only", default="", help="defects, by commas; none: no seeds of the code")
    parser.add_argument("--defect-seconds", type=int, default=600, help="for each planted defect")
    chosen = parser.parse_args()
    names = [one for one in chosen.only.split(",") if one] or _names()
    is_good = True
    if not chosen.only:
        seeds = f"{chosen.first}-{chosen.first + 1_000_000}"
        done = _run("--seeds", seeds, "--seconds", f"{chosen.seconds}", "--most", "10")
        print(done.stdout, end="", flush=True)
        is_good = done.returncode == 0
    for name in names:
        is_good = _is_found(name, chosen.defect_seconds) and is_good
    return 0 if is_good else 1


def _is_found(name: str, seconds: int) -> bool:
    began = monotonic()
    limits = ("--seeds", f"0-{_SEEDS}", "--seconds", f"{seconds}")
    done = _run(*limits, "--mutation", name, "--quick", "--expected")
    counted = _COUNTED.search(done.stdout)
    tried = int(counted[1]) if counted else 0
    if done.returncode != 1 or counted is None:
        print(f"NOT FOUND in {tried} seeds: {name}\n{done.stderr[-1000:]}", flush=True)
        return False
    finding = next(line for line in done.stdout.splitlines() if line.startswith("  ! "))
    again = next(line for line in done.stdout.splitlines() if line.startswith("  again"))
    print(
        f"found by seed {tried} in {monotonic() - began:.0f} s: {name}\n{finding}\n{again}",
        flush=True,
    )
    return True


def _names() -> list[str]:
    return _run("--mutations").stdout.splitlines()


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
