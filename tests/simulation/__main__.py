"""Runs seeds; ``python -m tests.simulation --help``."""

# Time and chance first: what is imported below takes its clocks by name.
from tests.simulation import clocks

clocks.install()

import argparse  # noqa: E402
import faulthandler  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from dataclasses import replace  # noqa: E402

from tests.simulation import home, parts, seed  # noqa: E402
from tests.simulation.database import Server  # noqa: E402
from tests.simulation.found import FOUND  # noqa: E402
from tests.simulation.mutations import MUTATIONS  # noqa: E402
from tests.simulation.plan import Plan, plan_of  # noqa: E402
from tests.simulation.profiles import PROFILES  # noqa: E402

_HANGS_SECONDS = 1800.0
"""Of the machine's clock, for one seed: then its process ends and says where it stands."""
_REPLAY = "PYTHONHASHSEED=0 .venv/bin/python -m tests.simulation --seeds {seed} --trace"


def main() -> int:
    """Run what the command line says; 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", default="0-200", help="numbers and ranges: 7,0-1000")
    parser.add_argument("--found", action="store_true", help="the kept plans before the seeds")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so many seconds")
    parser.add_argument("--profile", choices=list(PROFILES), help="only this kind of troubles")
    parser.add_argument("--ingress", choices=("direct", "stream"), help="of all; else by chance")
    parser.add_argument("--without", default="", help="numbers of troubles to leave out: 0,2")
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    parser.add_argument("--twice", action="store_true", help="run each seed twice and compare")
    parser.add_argument("--mutation", choices=list(MUTATIONS), help="change the code so, first")
    parser.add_argument("--mutations", action="store_true", help="list them")
    parser.add_argument("--expected", action="store_true", help="count only what it leads to")
    parser.add_argument("--keep", action="store_true", help="print the plan as found.py has it")
    parser.add_argument("--quick", action="store_true", help="a failing seed is not made smaller")
    parser.add_argument("--verbose", action="store_true", help="print each seed")
    parser.add_argument("--most", type=int, default=1, help="stop after so many failing seeds")
    chosen = parser.parse_args()
    if chosen.mutations:
        print("\n".join(MUTATIONS))
        return 0
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        arguments = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        # The order of sets is part of a seed.
        os.execv(sys.executable, arguments)  # noqa: S606 -- ourselves
    numbers: list[int] = []
    for one in filter(None, chosen.seeds.split(",")):
        first, _, last = one.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    with home.opened() as server:
        parts.install(server)
        if chosen.mutation:
            mutation = MUTATIONS[chosen.mutation]
            mutation.change()
            chosen.profile = chosen.profile or mutation.profile
        return _run_all(server, numbers, chosen)


def _run_all(server: Server, numbers: list[int], chosen: argparse.Namespace) -> int:
    registered = seed.prepare(server)
    used = time.thread_time()
    began, failed, done, simulated = clocks.real_seconds(), 0, 0, 0.0
    left_out = frozenset(int(one) for one in chosen.without.split(",") if one)
    kept = list(FOUND.values()) if chosen.found else []
    made = (plan_of(one, profile=chosen.profile, ingress=chosen.ingress) for one in numbers)
    for whole in itertools.chain(kept, made):
        if chosen.seconds and clocks.real_seconds() - began > chosen.seconds:
            break
        faulthandler.dump_traceback_later(_HANGS_SECONDS, exit=True)
        plan = replace(whole, left_out=left_out) if left_out else whole
        if chosen.verbose:
            print(plan.seed, plan.profile, flush=True)
        result = seed.run(server, plan, registered)
        done += 1
        simulated += result.seconds
        if chosen.twice:
            again = seed.run(server, plan, registered)
            if again.fingerprint != result.fingerprint:
                result.findings.append(f"not the same twice: {_difference(result, again)}")
        if chosen.trace:
            _print_trace(result)
        if chosen.expected and not _kinds(result) & MUTATIONS[chosen.mutation].kinds:
            continue
        if result.findings:
            failed += 1
            _report(server, result, registered, chosen)
            if failed >= chosen.most:
                break
    passed = clocks.real_seconds() - began
    print(
        f"{done} seeds, {failed} failed; {passed:.1f} s ({time.thread_time() - used:.1f} s of the "
        f"processor), {done / max(passed, 1e-9) * 60:.0f} a minute, {simulated:.0f} s of simulated "
        "time"
    )
    return 1 if failed else 0


def _difference(one: seed.Result, other: seed.Result) -> str:
    for place, (a, b) in enumerate(zip(one.trace, other.trace, strict=False)):
        if a != b:
            return f"line {place}: {a} and {b}"
    return f"{len(one.trace)} and {len(other.trace)} lines, {one.steps} and {other.steps} steps"


def _print_trace(result: seed.Result) -> None:
    for at, text in result.trace:
        print(f"{at:10.6f} {text[:240]}")


def _report(
    server: Server,
    result: seed.Result,
    registered: dict[str, tuple[int, str]],
    chosen: argparse.Namespace,
) -> None:
    smallest = result if chosen.quick else minimised(server, result, registered)
    print(smallest.plan)
    if chosen.keep:
        acting = tuple(smallest.plan.acting)
        print(repr(replace(smallest.plan, troubles=acting, left_out=frozenset())))
    for finding in smallest.findings:
        print(f"  ! {finding}")
    command = _REPLAY.format(seed=result.plan.seed)
    if chosen.mutation:
        command += f" --mutation '{chosen.mutation}'"
    elif chosen.profile:
        command += f" --profile '{chosen.profile}'"
    if chosen.ingress:
        command += f" --ingress {chosen.ingress}"
    if smallest.plan.left_out:
        command += " --without " + ",".join(map(str, sorted(smallest.plan.left_out)))
    print(f"  again: {command}", flush=True)


def minimised(
    server: Server, result: seed.Result, registered: dict[str, tuple[int, str]]
) -> seed.Result:
    """Leave out one trouble after the other, as long as something of the same kind is wrong."""
    kinds = _kinds(result)
    for number in range(len(result.plan.troubles)):
        if number in result.plan.left_out:
            continue
        fewer: Plan = replace(result.plan, left_out=result.plan.left_out | {number})
        found = seed.run(server, fewer, registered)
        if _kinds(found) & kinds:
            result = found
    return result


def _kinds(result: seed.Result) -> set[str]:
    return {finding.partition(":")[0] for finding in result.findings}


if __name__ == "__main__":
    sys.exit(main())
