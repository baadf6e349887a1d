"""Runs the proofs of the Makefile one after the other: ``make proofs``.

A proof is a program that shows a promise on real processes, longer than a test may take. Each runs
as its recipe of the Makefile, its output goes to ``.noetl/proofs/<name>.log``, and a table of
results and seconds ends the run. With ``--short`` only those that every change has to pass, five
minutes together on two cores.

Ends with 1 when one failed, or, with ``--required``, when what one needs can't be had here.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal

LOGS = Path(".noetl/proofs")
_HANGS_SECONDS = 3600
"""A proof that takes longer hangs; the longest takes half of it on two cores."""
_ENDS_SECONDS = 60
_LAST_LINES = 15
_NOT_PROVEN = re.compile(r"^not proven: (.*)", re.MULTILINE | re.IGNORECASE)

type Result = Literal["passed", "failed", "not proven", "hangs"]


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof of the Makefile.

    Attributes:
        name: its target.
        is_short: every change has to pass it; all of these take five minutes together.
        args: what its recipe gets as ``args``.
        program: of Debian's packages, which its recipe installs as root where it is not there.
    """

    name: str
    is_short: bool = False
    args: str = ""
    program: str = ""


PROOFS = (
    Proof("mistakes", is_short=True),
    Proof("traces", is_short=True),
    Proof("chart-run", is_short=True),
    Proof("pooler", is_short=True, program="pgbouncer"),
    Proof("hostile", is_short=True),
    Proof("moving", is_short=True),
    Proof("fuzz", is_short=True),
    Proof("access-fuzz", is_short=True),
    Proof("slow-tests"),
    Proof("acceptance"),
    Proof("chart"),
    Proof("renewals"),
    Proof("rotation"),
    Proof("cluster"),
    Proof("model"),
    Proof("mutants"),
    Proof("stops"),
    Proof("recorded"),
    Proof("schedules"),
    Proof("triggers", program="rabbitmq-server"),
    Proof("drill"),
    Proof("rolling"),
    Proof("simulate"),
    Proof("chaos"),
    Proof("waits"),
    Proof("chart-scale"),
    Proof("schemathesis"),
    Proof("console", program="chromium"),
    Proof("monitoring", program="promtool"),
    Proof("plugins"),
    Proof("libraries"),
    Proof("snowflake"),
    Proof("container-tool"),
    Proof("cluster-tool"),
    Proof("containers"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a proof; `reason` says why it could not be proven."""

    proof: Proof
    result: Result
    seconds: float
    log: Path
    reason: str = ""


def chosen(*, only: Sequence[str], is_short: bool) -> list[Proof]:
    """Return the proofs to run.

    Raises:
        ValueError: there is none of a name.
    """
    if unknown := set(only) - {proof.name for proof in PROOFS}:
        raise ValueError(f"no proof is called {', '.join(sorted(unknown))}")
    return [
        proof
        for proof in PROOFS
        if (not only or proof.name in only) and (proof.is_short or not is_short)
    ]


def run(proof: Proof, command: Sequence[str], *, logs: Path, seconds: float) -> Outcome:
    """Run one, for so many seconds at most; the processes that it started end with it."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{proof.name}.log"
    if missing := _missing(proof):
        return Outcome(proof, "not proven", 0.0, log, missing)
    begun = monotonic()
    with log.open("wb") as output:
        running = subprocess.Popen(  # noqa: S603 -- recipes of our Makefile
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = running.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return Outcome(proof, "hangs", monotonic() - begun, log)
        finally:
            _end(running)
    found = _NOT_PROVEN.search(log.read_text(encoding="utf-8", errors="replace"))
    taken = monotonic() - begun
    if code:
        return Outcome(proof, "failed", taken, log)
    if found:
        return Outcome(proof, "not proven", taken, log, found[1].strip())
    return Outcome(proof, "passed", taken, log)


def _missing(proof: Proof) -> str:
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    if not proof.program or os.geteuid() == 0 or shutil.which(proof.program, path=path):
        return ""
    return f"{proof.program} is not installed, and only root could install it"


def _end(running: subprocess.Popen[bytes]) -> None:
    """End a proof that hangs: it may put away the things it started, such as servers."""
    if running.poll() is not None:
        return
    os.killpg(running.pid, signal.SIGTERM)
    try:
        running.wait(timeout=_ENDS_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'proof':<16} {'result':<11} {'seconds':>7}"
    for one in outcomes:
        more = {"passed": "", "not proven": one.reason}.get(one.result, str(one.log))
        yield f"{one.proof.name:<16} {one.result:<11} {one.seconds:>7.0f}  {more}".rstrip()
    passed = sum(one.result == "passed" for one in outcomes)
    absent = sum(one.result == "not proven" for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    yield (
        f"{passed} proven, {len(outcomes) - passed - absent} failed, {absent} can't be had here, "
        f"{seconds:.0f} s"
    )


def main() -> int:
    """Run the proofs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="those that every change has to pass")
    parser.add_argument("--only", default="", help="names, with commas")
    parser.add_argument("--required", action="store_true", help="what can't be had is a failure")
    arguments = parser.parse_args()
    try:
        proofs = chosen(
            only=[name for name in arguments.only.split(",") if name], is_short=arguments.short
        )
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # What runs ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    outcomes = []
    for proof in proofs:
        command = ["make", "--no-print-directory", proof.name, f"args={proof.args}"]
        outcome = run(proof, command, logs=LOGS, seconds=_HANGS_SECONDS)
        outcomes.append(outcome)
        sys.stdout.write(f"{proof.name}: {outcome.result}, {outcome.seconds:.0f} s\n")
        if outcome.result in {"failed", "hangs"}:
            lines = outcome.log.read_text(encoding="utf-8", errors="replace").splitlines()
            sys.stdout.writelines(f"    {line}\n" for line in lines[-_LAST_LINES:])
        sys.stdout.flush()
    sys.stdout.write("\n" + "\n".join(table(outcomes)) + "\n")
    bad = {"failed", "hangs"} | ({"not proven"} if arguments.required else set())
    return int(any(one.result in bad for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
