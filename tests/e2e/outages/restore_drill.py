"""The drill of a restore: ``make drill``, some minutes long.

Executions of several kinds run on two shards, a backup is taken in the middle, the system goes on
and is killed under load. The backup is then restored twice: beside the broker's store, which
knows newer messages than the databases, and beside an empty broker.

It exits 0 when after each restore every start that was accepted before the backup is there and
ends, its log is whole, no id is given twice, nothing stays in a queue and no message about the
lost time comes again and again; it prints the seconds and what the log warns of.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
from noetl_contract.sharding import shard_for
from noetl_testkit.oracles.findings import Findings
from noetl_testkit.oracles.judging import check_digests, judge
from noetl_testkit.stack import (
    Stack,
    add_ingress,
    command,
    each_ingress,
    execute,
    finish,
    register,
)
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

SHARDS = 2
SETTLE_SECONDS = 240
_HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {0}, path: drill/{0}}}\n"
_PAUSE = "import time; time.sleep(0.4); result = {'ok': True}"
_CHAIN = "".join(
    f'  - step: {name}\n    tool: {{kind: python, code: "{_PAUSE}"}}\n'
    + (f"    next: {{arcs: [{{step: {following}}}]}}\n" if following else "")
    for name, following in (("start", "b"), ("b", "c"), ("c", "d"), ("d", ""))
)
PLAYBOOKS = {
    "chain": f"workflow:\n{_CHAIN}",
    "loop": f"""workflow:
  - step: start
    loop: {{in: "{{{{ range(12) }}}}", iterator: n, spec: {{mode: parallel}}}}
    tool: {{kind: python, code: "{_PAUSE}"}}
""",
    "parent": """workflow:
  - step: start
    loop: {in: "{{ range(4) }}", iterator: n, spec: {mode: parallel}}
    tool: {kind: playbook, path: drill/chain, poll_interval: 1}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
""",
    "failing": """spec: {errors: fail}
on_failure: {playbook: drill/handler}
workflow:
  - step: start
    tool: {kind: python, code: "import time; time.sleep(0.4); raise ValueError('drill')"}
""",
    "timer": """workflow:
  - step: start
    tool: {kind: sleep, duration: 6s}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
""",
}
HANDLER = f"workflow:\n{_CHAIN}"
HANDLED = """
SELECT e.path, e.parent_execution_id, e.execution_id
FROM noetl.execution_state AS e WHERE e.path IN ('drill/failing', 'drill/handler')
"""
CHILDREN = """
SELECT parent_execution_id FROM noetl.execution_state
WHERE status = 'RUNNING' AND parent_execution_id = ANY($1)
"""
PUBLISHED = """
SELECT execution_id FROM noetl.outbox
WHERE kind = 'message' AND status = 'PUBLISHED' AND subject LIKE $1
"""
ENDED = """
SELECT execution_id FROM noetl.execution_state
WHERE parent_execution_id = ANY($1) AND status = $2
"""
FAMILY = """workflow:
  - step: start
    loop: {in: "{{ range(12) }}", iterator: n, spec: {mode: parallel}}
    tool: {kind: playbook, path: drill/long, poll_interval: 1}
"""
LONG = """workflow:
  - step: start
    tool: {kind: sleep, duration: 60s}
"""


@dataclass
class Starts:
    """Starts that the edge accepted, with their times by the monotonic clock."""

    accepted: dict[int, float] = field(default_factory=dict)


@contextmanager
def load(stack: Stack, starts: Starts) -> Iterator[None]:
    """Start executions of all kinds, one after the other, until the block ends."""
    stop = threading.Event()

    def go_on() -> None:
        with stack.client() as client:
            while not stop.is_set():
                for name in PLAYBOOKS:
                    try:
                        execution_id = execute(client, f"drill/{name}")
                    except httpx.HTTPError:
                        continue
                    starts.accepted[execution_id] = time.monotonic()
                stop.wait(0.3)

    # Several, because starts on a frozen shard wait.
    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=PATIENCE_SECONDS)


@contextmanager
def undelivered(stack: Stack, client: httpx.Client) -> Iterator[set[int]]:
    """Cancel parents whose children's shard takes no messages during the block; yield them.

    What a backup holds then is messages that the database takes for sent, and whose effect is
    younger.
    """
    last = SHARDS - 1
    parents: set[int] = set()
    while len(parents) < 3:
        execution_id = execute(client, "drill/family")
        if shard_for(execution_id, shard_count=SHARDS) != last:
            parents.add(execution_id)
    wait_until(
        lambda: parents <= asyncio.run(_seen(stack, last, CHILDREN, list(parents))),
        what="every parent has a child on the shard",
    )
    pid = stack.services()[f"orchestrator-s{last}"]["pid"]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    children = asyncio.run(_seen(stack, last, ENDED, list(parents), "RUNNING"))
    try:
        for one in parents:
            client.post(f"/api/executions/{one}/cancel", json={"cascade": True}).raise_for_status()
        wait_until(
            lambda: children <= asyncio.run(_seen(stack, 0, PUBLISHED, f"noetl_ingress.{last}.%")),
            what="the cancels of their children are on their way",
        )
        yield parents
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _seen(stack: Stack, shard: int, question: str, *arguments: object) -> set[int]:
    connection = await asyncpg.connect(stack.dsn(f"noetl_shard_{shard}"))
    try:
        return {row[0] for row in await connection.fetch(question, *arguments)}
    finally:
        await connection.close()


def check_cancelled(stack: Stack, parents: set[int]) -> None:
    """Find children of cancelled parents that ended in another way, or go on."""
    found: Counter[str] = Counter()
    for shard in range(SHARDS):
        for status in ("RUNNING", "COMPLETED", "FAILED", "CANCELLED"):
            ids = asyncio.run(_seen(stack, shard, ENDED, list(parents), status))
            found[status] += len(ids)
    print(f"  children of cancelled parents: {dict(+found)}")
    if set(+found) != {"CANCELLED"}:
        problem(f"children of cancelled parents ended {dict(+found)}")


def operate(*arguments: str) -> float:
    """Run ``noetl-server`` and return how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        [*command(), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    print("   ", (done.stdout + done.stderr).strip().replace("\n", "\n    "))
    if done.returncode != 0:
        sys.exit(f"{arguments[0]} ended with {done.returncode}")
    return time.monotonic() - began


def shards_of(stack: Stack) -> list[str]:
    return [stack.dsn(f"noetl_shard_{index}") for index in range(SHARDS)]


async def ids_of(stack: Stack) -> dict[str, set[int]]:
    """Return all ids that were given, by the kind of thing."""
    found: dict[str, set[int]] = {"execution": set(), "event": set()}
    for dsn in shards_of(stack):
        connection = await asyncpg.connect(dsn)
        try:
            rows = await connection.fetch("SELECT DISTINCT execution_id FROM noetl.event")
            found["execution"] |= {row["execution_id"] for row in rows}
            rows = await connection.fetch("SELECT event_id FROM noetl.event")
            found["event"] |= {row["event_id"] for row in rows}
        finally:
            await connection.close()
    return found


async def standing(stack: Stack) -> dict[str, int]:
    """Return the messages and rows that wait, and the number of dead letters."""
    shown: dict[str, int] = {}
    client = await nats.connect(stack.values()["NOETL_NATS_URL"])
    try:
        js = client.jetstream()
        shown["ingress"] = (await js.stream_info("noetl_ingress")).state.messages
        shown["dead"] = (await js.stream_info("noetl_dead")).state.messages
        for one in await js.consumers_info("NOETL_COMMANDS"):
            shown[one.name] = (one.num_ack_pending or 0) + (one.num_pending or 0)
    finally:
        await client.close()
    for dsn in shards_of(stack):
        connection = await asyncpg.connect(dsn)
        try:
            for name, question in (
                ("running", "noetl.execution_state WHERE status = 'RUNNING'"),
                ("outbox", "noetl.outbox WHERE status IN ('PENDING', 'IN_FLIGHT', 'FAILED')"),
                ("parked", "noetl.outbox WHERE status = 'PARKED'"),
            ):
                count = await connection.fetchval(f"SELECT count(*) FROM {question}")
                shown[name] = shown.get(name, 0) + count
        finally:
            await connection.close()
    return shown


async def dead_letters(stack: Stack, behind: int) -> Counter[str]:
    """Return the newer dead letters by their reason."""
    found: Counter[str] = Counter()
    client = await nats.connect(stack.values()["NOETL_NATS_URL"])
    try:
        js = client.jetstream()
        state = (await js.stream_info("noetl_dead")).state
        for sequence in range(max(state.first_seq, behind + 1), state.last_seq + 1):
            message = await js.get_msg("noetl_dead", seq=sequence)
            found[f"{message.subject}: {dict(message.headers or {})}"[:200]] += 1
    finally:
        await client.close()
    return found


class Warnings:
    """Warnings and errors in the logs of a stack since its making."""

    def __init__(self, stack: Stack) -> None:
        self._files = {path: path.stat().st_size for path in self._logs(stack)}
        self._stack = stack

    def count(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for path in self._logs(self._stack):
            with path.open("rb") as file:
                file.seek(min(self._files.get(path, 0), path.stat().st_size))
                for line in file:
                    try:
                        entry: dict[str, Any] = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(entry, dict) and entry.get("level") in {"warning", "error"}:
                        found[f"{path.stem} {entry['level']} {entry.get('msg')}"] += 1
        return found

    @staticmethod
    def _logs(stack: Stack) -> list[Path]:
        return [path for path in (stack.data / "logs").glob("*.log") if path.stem != "postgres"]


def settle(stack: Stack) -> dict[str, int]:
    """Wait until everything has ended and no queue holds anything."""
    last: dict[str, int] = {}

    def is_settled() -> bool:
        nonlocal last
        last = asyncio.run(standing(stack))
        return not any(count for name, count in last.items() if name not in {"dead", "parked"})

    try:
        wait_until(is_settled, timeout_seconds=SETTLE_SECONDS, every_seconds=0.5)
    except TimeoutError:
        problem(f"after {SETTLE_SECONDS} s not settled: {last}")
    return last


PROBLEMS: list[str] = []


def problem(text: str) -> None:
    print("  PROBLEM", text)
    PROBLEMS.append(text)


def commands_of_the_lost_time(problems: list[str]) -> tuple[str, ...]:
    """Return commands that were never issued and whose outcomes counted for nothing.

    Workers ran them for a broker that knew more than the database; their rows say so.
    """
    parts = [one.rpartition(": ") for one in problems]
    issued = {place for place, _, text in parts if text == "issued 0 times"}
    without = {place for place, _, text in parts if text == "0 effective outcomes"}
    return tuple(f"{place}: " for place in sorted(issued & without))


def check(
    stack: Stack,
    *,
    known: set[int],
    cancelled: set[int],
    lost: dict[str, set[int]],
    dead: int,
    is_empty: bool,
) -> None:
    """Judge a restored system: let it go on, start anew, and look at everything."""
    began = time.monotonic()
    warnings = Warnings(stack)
    stack.up()
    print(f"  ready after {time.monotonic() - began:.1f} s")
    restored = asyncio.run(ids_of(stack))
    if missing := known - restored["execution"]:
        problem(f"accepted before the backup and not in it: {sorted(missing)}")
    with stack.client() as client:
        fresh = {execute(client, f"drill/{name}") for name in PLAYBOOKS for _ in range(3)}
        if twice := fresh & lost["execution"]:
            problem(f"ids of executions given twice: {sorted(twice)}")
        ended: Counter[str] = Counter()
        for execution_id in sorted(fresh | known):
            status = finish(client, execution_id, seconds=SETTLE_SECONDS, poll_seconds=0.1)
            ended[status] += 1
        if set(ended) != {"COMPLETED", "FAILED"}:
            problem(f"they ended {dict(ended)}")
    print(
        f"  {len(known)} executions of the backup and {len(fresh)} new ones ended after "
        f"{time.monotonic() - began:.1f} s"
    )
    last = settle(stack)
    print(f"  settled after {time.monotonic() - began:.1f} s: {last}")
    now = asyncio.run(ids_of(stack))
    again = (now["event"] - restored["event"]) & (lost["event"] - restored["event"])
    late = f"{len(again)} event ids of the lost time are in the log again"
    print(f"  {late}")
    if again:
        problem(late)
    asyncio.run(check_handlers(stack))
    check_cancelled(stack, cancelled)
    for index, dsn in enumerate(shards_of(stack)):
        findings = asyncio.run(judge(dsn))
        unknown = commands_of_the_lost_time(findings.problems)
        for one in findings.problems:
            if not one.startswith(unknown):
                problem(f"shard {index}: {one}")
        if unknown and is_empty:
            problem(f"shard {index}: commands that nobody issued: {unknown}")
        print(f"  shard {index}: {len(unknown)} commands of the lost time with late rows only")
        print(
            f"  shard {index}: {findings.executions} executions {findings.statuses}, "
            f"{findings.reissued} commands issued again, {findings.late_rows} late rows"
        )
    digests = Findings()
    check_digests(digests, data=stack.data)
    for one in digests.problems:
        problem(one)
    letters = asyncio.run(dead_letters(stack, dead))
    print(f"  dead letters: {dict(letters)}")
    counted = warnings.count()
    print(f"  warnings: {dict(counted)}")
    quiet_until = time.monotonic() + 15
    with stack.client() as client:
        # Beside work, so that a loop would have turned many times.
        while time.monotonic() < quiet_until:
            finish(client, execute(client, "drill/chain"))
    if more := warnings.count() - counted:
        problem(f"it goes on warning when all has ended: {dict(more)}")
    stack.down()


async def check_handlers(stack: Stack) -> None:
    """Find failed executions without their handler, or with several."""
    failed: set[int] = set()
    handled: Counter[int] = Counter()
    for dsn in shards_of(stack):
        connection = await asyncpg.connect(dsn)
        try:
            for row in await connection.fetch(HANDLED):
                if row["path"] == "drill/failing":
                    failed.add(row["execution_id"])
                else:
                    handled[row["parent_execution_id"]] += 1
        finally:
            await connection.close()
    print(f"  {len(failed)} failed executions, {handled.total()} handlers")
    if handled != Counter(failed):
        problem(
            f"handlers that are missing: {sorted(failed - set(handled))}, too many: "
            f"{sorted(one for one, number in handled.items() if number > 1 or one not in failed)}"
        )


def drill(folder: Path, seconds: float) -> None:
    stack = Stack(folder / "data", arguments=["--shards", str(SHARDS), "--workers", "2"])
    stack.scratch.mkdir(parents=True)
    data, backup = ("--data", str(stack.data)), str(folder / "backup")
    starts = Starts()
    try:
        stack.up()
        stack.values()  # asked once, before the machine is busy
        with stack.client() as client:
            for name, text in PLAYBOOKS.items():
                register(client, _HEAD.format(name) + text)
            for name, text in (("handler", HANDLER), ("family", FAMILY), ("long", LONG)):
                register(client, _HEAD.format(name) + text)
        with load(stack, starts):
            wait_until(lambda: len(starts.accepted) >= 24)
            with stack.client() as client, undelivered(stack, client) as cancelled:
                began = time.monotonic()
                print(f"backup under load: {operate('backup', backup, *data):.1f} s")
            known = {one for one, at in starts.accepted.items() if at < began}
            end = time.monotonic() + seconds
            wait_until(lambda: time.monotonic() > end, timeout_seconds=seconds + 10)
            lost = asyncio.run(ids_of(stack))
            before = asyncio.run(standing(stack))
            stack.kill_everything()
        print(
            f"killed: {len(known)} executions before the backup, {len(starts.accepted)} in "
            f"all, {before}"
        )
        for title, parts in (
            ("beside a broker with newer messages", ("postgres",)),
            ("beside an empty broker", ("postgres", "nats")),
        ):
            print(title)
            for part in parts:
                shutil.rmtree(stack.data / part)
            began = time.monotonic()
            print(f"  restore: {operate('restore', backup, *data):.1f} s")
            check(
                stack,
                known=known,
                cancelled=cancelled,
                lost=lost,
                dead=0 if "nats" in parts else before["dead"],
                is_empty="nats" in parts,
            )
            print(f"  in all {time.monotonic() - began:.1f} s")
    finally:
        stack.kill_everything()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=8, help="lost time after the backup")
    add_ingress(arguments)
    chosen = arguments.parse_args()
    for ingress in each_ingress(chosen.ingress):
        print(f"ingress {ingress}", flush=True)
        _drill_here(chosen.seconds)


def _drill_here(seconds: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="noetl-drill-"))
    try:
        drill(folder, seconds)
    except BaseException:
        print("left for a look:", folder)
        raise
    if PROBLEMS:
        sys.exit(f"{len(PROBLEMS)} problems; left for a look: {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
