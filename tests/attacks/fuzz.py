"""Thousands of mutated bodies against a running stack: nothing may crash, stick or answer 5xx.

Run by hand: ``.venv/bin/python tests/attacks/fuzz.py --cases 20000 [--seed N]``. Half of the cases
are posted to ``/api/events``, half are published to the ingress subject. Afterwards a playbook
has to run, every consumer has to have caught up, and no process may have been restarted.
"""

import argparse
import asyncio
import copy
import json
import random
import sys
import time
from collections import Counter
from typing import Any

import httpx
import nats
from nats.aio.client import Client
from noetl_contract.json import Json, JsonObject
from noetl_testkit.stack import Stack, execute, finish, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fuzzed, path: tests/fuzzed}
workflow:
  - step: start
    loop: {in: "{{ [1, 2, 3] }}", iterator: n, spec: {mode: parallel}}
    tool: {kind: noop}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""
ODDITIES: tuple[Json, ...] = (
    None, True, 0, -1, 1.5, 1e308, 2**63, -(2**63) - 1, 10**40, "", " ", "\x00", "NaN", "💥" * 40,
    "a" * 5_000, [], {}, [[[[[[[[]]]]]]]], {"": {"": {"": None}}}, [1, "2", None, {"a": []}],
    "2026-13-45T99:99:99Z", "{{ 1 / 0 }}", "%00", "../../..", {"$ref": "#"},
)  # fmt: skip
AT_ONCE = 16
SECONDS = PATIENCE_SECONDS


def mutated(seed: Json, chance: random.Random) -> Json:
    """Return a copy with one to four places changed, removed, doubled or renamed."""
    value = json.loads(json.dumps(seed))
    for _ in range(chance.randint(1, 4)):
        places = list(_places(value))
        if not places:
            return copy.deepcopy(chance.choice(ODDITIES))
        holder, key = chance.choice(places)
        match chance.randrange(5):
            case 0:
                holder[key] = copy.deepcopy(chance.choice(ODDITIES))
            case 1 if isinstance(holder, dict):
                del holder[key]
            case 2 if isinstance(holder, dict):
                holder[chance.choice(["", "x", key.upper(), f"{key}_id"])] = holder.pop(key)
            case 3:
                holder[key] = [holder[key], holder[key]]
            case _:
                holder[key] = {"value": holder[key]}
    return value


def _places(value: Json) -> Json:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield value, index
            yield from _places(inner)


def broken(body: bytes, chance: random.Random) -> bytes:
    """Return the body, one in six times with its bytes damaged."""
    if chance.random() > 1 / 6 or not body:
        return body
    place = chance.randrange(len(body))
    return chance.choice(
        [
            body[:place],
            body[:place] + bytes([chance.randrange(256)]) + body[place + 1 :],
            body + body,
            b"\xff\xfe" + body,
            body.replace(b'"', b"'"),
            body.replace(b":", b": NaN ", 1),
        ]
    )


def event_seeds(execution_ids: list[int], log: list[JsonObject]) -> list[Json]:
    """Return the posts of real workers, for executions that run and that have ended."""
    seeds: list[Json] = []
    for execution_id in execution_ids:
        for event in log:
            if not event["event_type"].startswith(("command.", "call.", "step.")):
                continue
            seeds.append(
                {
                    "execution_id": execution_id,
                    "event_id": event["event_id"],
                    "event_type": event["event_type"],
                    "step": event["node_name"],
                    "payload": event["result"] or {},
                    "context": event["context"],
                    "meta": {"attempts": 0, "actionable": True},
                    "worker_id": "fuzz",
                    "created_at": event["created_at"],
                }
            )
    return seeds


def ingress_seeds(execution_ids: list[int], log: list[JsonObject]) -> list[Json]:
    """Return messages as the edge and the fast path send them."""
    seeds: list[Json] = []
    for execution_id in execution_ids:
        issued = next(event for event in log if event["event_type"] == "command.issued")
        hold = {
            "event_id": issued["event_id"],
            "command_id": f"{execution_id}:start:{issued['event_id']}",
            "step": "start",
            "attempts": 0,
            "worker_id": "fuzz",
            "instance": "fuzz",
        }
        event = {
            "event_type": "call.done",
            "step": "start",
            "event_id": 1,
            "context": {"result": 1},
        }
        base = {"v": 1, "execution_id": execution_id}
        seeds += [
            base | {"type": "events", "events": [event], "batch": False, "worker_id": "fuzz"},
            base | {"type": "command.start", "hold": hold, "events": [event]},
            base | {"type": "command.outcome", "hold": hold, "events": [event, event]},
            base | {"type": "cancel", "reason": "fuzz", "cascade": True},
            base | {"type": "finalize", "status": "FAILED", "error": "fuzz"},
            base | {"type": "execute", "catalog_id": 1, "path": "tests/fuzzed", "version": 1},
            base | {"type": "stored", "ref": "noetl://x", "size": 1},
        ]
    return seeds


async def post_events(
    url: str, seeds: list[Json], *, cases: int, chance: random.Random
) -> Counter[int]:
    """Post mutated events and count statuses."""
    statuses: Counter[int] = Counter()
    places = asyncio.Semaphore(AT_ONCE)
    kept: list[str] = []

    async def post(client: httpx.AsyncClient, path: str, body: bytes) -> None:
        try:
            answer = await client.post(
                path, content=body, headers={"content-type": "application/json"}
            )
        finally:
            places.release()
        statuses[answer.status_code] += 1
        if answer.status_code >= 500 and len(kept) < 5:
            kept.append(f"{answer.status_code} {answer.text[:200]} <- {path} {body[:600]!r}")

    async with (
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(cases):
            value = mutated(chance.choice(seeds), chance)
            path = "/api/events"
            if number % 5 == 0:
                path = "/api/events/batch"
                items = [mutated(chance.choice(seeds), chance) for _ in range(2)]
                value = {
                    "execution_id": chance.choice(seeds)["execution_id"],
                    "worker_id": "fuzz",
                    "events": [value, *items],
                }
            body = broken(json.dumps(value).encode(), chance)
            await places.acquire()
            group.create_task(post(client, path, body))
    for text in kept:
        print("  ", text)
    return statuses


async def publish_ingress(
    nats_url: str, seeds: list[Json], *, cases: int, chance: random.Random
) -> Counter[str]:
    """Publish mutated messages, each under its subject or another's, and wait for the answers."""
    counts: Counter[str] = Counter()
    client = await nats.connect(nats_url)
    try:
        stream = client.jetstream()
        inbox = client.new_inbox()
        answered = asyncio.Event()

        async def on_reply(message: Any) -> None:
            body = json.loads(message.data)
            counts[f"answered {body.get('status', '?')}"] += 1
            answered.set()

        subscription = await client.subscribe(inbox, cb=on_reply)
        for number in range(cases):
            seed = chance.choice(seeds)
            body = broken(json.dumps(mutated(seed, chance)).encode(), chance)
            execution_id, kind = str(seed["execution_id"]), seed["type"].removeprefix("command.")
            if number % 50 == 0:
                execution_id = chance.choice(["x", "-1", "0", "99999999999999999999"])
            if number % 60 == 0:
                kind = chance.choice(["start", "cancel", "nonsense"])
            # Every tenth without a kind.
            last = "" if number % 10 == 0 else f".{kind}"
            subject = f"noetl_ingress.0.{execution_id}{last}"
            headers = {"Noetl-Reply": inbox, "Noetl-Deadline": str(int((time.time() + 60) * 1000))}
            if number % 7 == 0:
                headers["Noetl-Deadline"] = chance.choice(["", "x", "0", "1e99"])
            if number % 11 == 0:
                headers["Noetl-Stored"] = "1"
            await stream.publish(subject, body, headers=headers)
            counts["published"] += 1
        await _drained(client)
        await subscription.unsubscribe()
    finally:
        await client.close()
    return counts


async def _drained(client: Client) -> None:
    """Wait until no consumer of the ingress has anything left."""

    async def is_empty() -> bool:
        return (await client.jetstream().stream_info("noetl_ingress")).state.messages == 0

    await eventually(is_empty, what="no consumer of the ingress is stuck", timeout_seconds=SECONDS)


async def dead_letters(nats_url: str) -> int:
    """Count the dead letters."""
    client = await nats.connect(nats_url)
    try:
        return int((await client.jetstream().stream_info("noetl_dead")).state.messages)
    finally:
        await client.close()


def fuzz(stack: Stack, *, cases: int, seed: int) -> list[str]:
    """Throw the cases at a stack and return the problems afterwards."""
    chance = random.Random(seed)
    problems: list[str] = []
    with stack.client() as client:
        register(client, PLAYBOOK)
        ended = execute(client, "tests/fuzzed")
        finish(client, ended)
        log = client.get(f"/api/executions/{ended}").json()["events"]
        running = [execute(client, "tests/fuzzed") for _ in range(5)]
        ids = [ended, *running, 1, -5, 2**62]
        nats_url = stack.values()["NOETL_NATS_URL"]

        began = time.monotonic()
        statuses = asyncio.run(
            post_events(stack.url, event_seeds(ids, log), cases=cases // 2, chance=chance)
        )
        print(f"/api/events: {dict(sorted(statuses.items()))} in {time.monotonic() - began:.0f} s")
        problems += [f"{n} answers {code}" for code, n in statuses.items() if code >= 500]

        began = time.monotonic()
        counts = asyncio.run(
            publish_ingress(nats_url, ingress_seeds(ids, log), cases=cases // 2, chance=chance)
        )
        print(f"ingress: {dict(sorted(counts.items()))} in {time.monotonic() - began:.0f} s")
        problems += [f"{n} {what}" for what, n in counts.items() if what == "answered 500"]
        print(f"dead letters: {asyncio.run(dead_letters(nats_url))}")

        status = finish(client, execute(client, "tests/fuzzed"), seconds=SECONDS)
        if status != "COMPLETED":
            problems.append(f"afterwards a playbook ended as {status}")
    restarts = {name: s["restarts"] for name, s in stack.services().items() if s["restarts"]}
    if restarts:
        problems.append(f"processes were restarted: {restarts}")
    return problems


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with running_stack() as stack:
        problems = fuzz(stack, cases=options.cases, seed=options.seed)
    for problem in problems:
        print("PROBLEM", problem)
    print("no problem" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
