"""Each message starts exactly one execution, whatever is killed: `make triggers`."""

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
from noetl.stack.process import free_port
from noetl_testkit.stack import Stack, running_stack
from noetl_testkit.waiting import wait_until
from sources import KINDS, Source, bodies, poison, running_source

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: take, path: triggers/take}
workflow:
  - step: start
    tool: {kind: noop}
"""


@dataclass
class Runtime:
    """The subscription runtime as a process of its own."""

    stack: Stack
    path: str
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        values = self.stack.values()
        environment = {
            **os.environ,
            "WORKER_MODE": "subscription",
            "NOETL_SUBSCRIPTION_PATH": self.path,
            "NOETL_SUBSCRIPTION_POLL_SECONDS": "0.5",
            "NOETL_SERVER_URL": self.stack.url,
            "NOETL_NATS_URL": values["NOETL_NATS_URL"],
            "NOETL_HTTP_PORT": str(self.port),
            "NOETL_LOG_FORMAT": "json",
            "WORKER_ID": f"runtime-{self.path.replace('/', '-')}",
            **self.environment,
        }
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "noetl_worker"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """End it in good order and return its exit code."""
        if self.process is None:
            raise RuntimeError("it does not run")
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)


@contextmanager
def running_runtime(stack: Stack, path: str, **environment: str) -> Iterator[Runtime]:
    """Run a subscription for the length of the block."""
    log = stack.data.parent / f"runtime-{path.replace('/', '-')}.log"
    runtime = Runtime(stack, path, log, environment)
    runtime.start()
    try:
        yield runtime
    finally:
        runtime.kill()


def register(stack: Stack, path: str, spec: dict[str, Any]) -> None:
    """Register the playbook and a subscription that starts it."""
    document = {
        "apiVersion": "noetl.io/v1",
        "kind": "Subscription",
        "metadata": {"name": path, "path": path},
        "spec": {"mode": "pull", "dispatch": {"playbook": "triggers/take"}} | spec,
    }
    with stack.client() as client:
        for content in (PLAYBOOK, json.dumps(document)):
            answer = client.post("/api/catalog/register", json={"content": content})
            answer.raise_for_status()


def started(stack: Stack, path: str) -> Counter[int]:
    """Return how often each number was started by messages of a subscription."""

    async def ask() -> list[str]:
        connection = await asyncpg.connect(stack.dsn())
        try:
            rows = await connection.fetch(
                "SELECT context::text AS context FROM noetl.event"
                " WHERE event_type = 'playbook_started' AND context::text LIKE $1",
                f'%"{path}"%',
            )
        finally:
            await connection.close()
        return [row["context"] for row in rows]

    return Counter(int(json.loads(text)["workload"]["number"]) for text in asyncio.run(ask()))


def starts_of(stack: Stack, path: str) -> int:
    """Return how many executions a subscription has; cheap enough to ask again and again."""

    async def ask() -> int:
        connection = await asyncpg.connect(stack.dsn())
        try:
            return int(
                await connection.fetchval(
                    "SELECT count(*) FROM noetl.execution_state WHERE parent_execution_id IN"
                    " (SELECT execution_id FROM noetl.event WHERE position = 1"
                    "  AND event_type = 'subscription.registered' AND node_name = $1)",
                    path,
                )
            )
        finally:
            await connection.close()

    return asyncio.run(ask())


def dead_letters(stack: Stack) -> set[int]:
    """Return the numbers of the messages in our own stream of dead letters."""

    async def ask() -> set[int]:
        client = await nats.connect(stack.values()["NOETL_NATS_URL"])
        subscription = await client.jetstream().subscribe(
            "noetl_dead.subscriptions", ordered_consumer=True
        )
        found = set()
        with contextlib.suppress(nats.errors.TimeoutError):
            while True:
                message = await subscription.next_msg(timeout=1)
                body = json.loads(message.data)
                found.add(body["data"]["number"])
        await client.close()
        return found

    return asyncio.run(ask())


@dataclass
class Outcome:
    """What a proof found."""

    messages: int
    started: int
    doubled: list[int]
    lost: list[int]
    poison: int
    dead: int
    kills: Counter[str]
    seconds: float

    @property
    def is_good(self) -> bool:
        return not self.doubled and not self.lost and self.dead == self.poison


def prove(
    stack: Stack,
    source: Source,
    *,
    count: int,
    rounds: int,
    seed: int = 1,
    **spec: Any,
) -> Outcome:
    """Send messages in rounds and kill something in each."""
    chance = random.Random(seed)
    path = f"triggers/{source.kind}{'-batch' if spec else ''}"
    register(stack, path, {"source": source.kind, **source.fields(), **spec})
    victims = ["runtime", "edge", "broker"] if source.can_restart else ["runtime", "edge"]
    kills: Counter[str] = Counter()
    begun = time.monotonic()
    each = count // rounds
    known_dead = dead_letters(stack)
    poisoned = set()
    with running_runtime(stack, path) as runtime:
        for number in range(rounds):
            source.send(bodies(number * each, each))
            poisoned.add(1_000_000 + number)
            source.send([poison(1_000_000 + number)])
            done = number * each + chance.randint(each // 10, each // 2)
            wait_until(
                lambda done=done: starts_of(stack, path) >= done,
                timeout_seconds=300,
                every_seconds=0.2,
            )
            victim = victims[number % len(victims)]
            kills[victim] += 1
            print(f"{source.kind}: {starts_of(stack, path)} started, now {victim}", flush=True)
            match victim:
                case "runtime":
                    runtime.kill()
                    runtime.start()
                case "edge":
                    _kill_edge(stack)
                case "broker":
                    source.restart()
        total = rounds * each
        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: (
                    len(started(stack, path)) >= total
                    and poisoned <= dead_letters(stack) - known_dead
                ),
                timeout_seconds=60 + total / 20,
                every_seconds=1.0,
            )
        runtime.stop()
    found = started(stack, path)
    return Outcome(
        messages=total,
        started=sum(found.values()),
        doubled=sorted(one for one, times in found.items() if times > 1),
        lost=sorted(set(range(total)) - found.keys()),
        poison=len(poisoned),
        dead=len(poisoned & dead_letters(stack)),
        kills=kills,
        seconds=time.monotonic() - begun,
    )


def prove_webhook(stack: Stack, *, count: int, rounds: int) -> Outcome:
    """Deliver from several senders at once, each until it is answered with 202; kill the edge."""
    path = "triggers/webhook"
    verify = {"type": "hmac_sha256", "header": "X-Signature", "secret": "proof"}
    ingress = {"gateway_path": "/ingress/proof", "verify": verify}
    with stack.client() as client:
        secret = {"name": "proof", "type": "bearer", "data": {"secret": "s3cr3t"}}
        client.post("/api/credentials", json=secret).raise_for_status()
    register(stack, path, {"source": "webhook", "mode": "push", "ingress": ingress})
    begun = time.monotonic()
    kills: Counter[str] = Counter()

    def deliver(number: int) -> None:
        body = json.dumps({"number": number}).encode()
        mac = hmac.new(b"s3cr3t", body, hashlib.sha256).hexdigest()
        headers = {"x-signature": mac, "x-delivery-id": str(number)}
        for _ in range(200):
            with contextlib.suppress(httpx.HTTPError):
                url = f"{stack.url}/ingress/proof"
                if httpx.post(url, content=body, headers=headers, timeout=10).status_code == 202:
                    return
            time.sleep(0.2)

    with ThreadPoolExecutor(8) as senders:
        sent = [senders.submit(deliver, number) for number in range(count)]
        for part in range(1, rounds):
            wait_until(
                lambda part=part: sum(one.done() for one in sent) >= part * count // rounds,
                timeout_seconds=300,
            )
            _kill_edge(stack)
            kills["edge"] += 1
    found = started(stack, path)
    return Outcome(
        messages=count,
        started=sum(found.values()),
        doubled=sorted(one for one, times in found.items() if times > 1),
        lost=sorted(set(range(count)) - found.keys()),
        poison=0,
        dead=0,
        kills=kills,
        seconds=time.monotonic() - begun,
    )


def _kill_edge(stack: Stack) -> None:
    pid = stack.services()["api-gateway"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: stack.services()["api-gateway"]["pid"] not in {None, pid}, timeout_seconds=30
    )


def main() -> int:
    """Run the proof of some sources; exit code 1 when one fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", default=",".join((*KINDS, "webhook")))
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch", action="store_true", help="start many with one request")
    given = parser.parse_args()
    dispatch = {"playbook": "triggers/take", "batch_dispatch": True, "batch_max": 50}
    more = {"dispatch": dispatch, "limits": {"max_in_flight": 200}} if given.batch else {}
    is_good = True
    for kind in given.sources.split(","):
        with ExitStack() as exits:
            stack = exits.enter_context(running_stack())
            if kind == "webhook":
                outcome = prove_webhook(stack, count=given.messages, rounds=given.rounds)
            else:
                source = exits.enter_context(running_source(kind))
                outcome = prove(stack, source, count=given.messages, rounds=given.rounds, **more)
        print(
            f"{kind}: {outcome.messages} messages, {outcome.started} started, "
            f"{len(outcome.lost)} lost, {len(outcome.doubled)} doubled, "
            f"{outcome.dead} of {outcome.poison} poison in dead letters, "
            f"kills {dict(outcome.kills)}, {outcome.seconds:.0f} s",
            flush=True,
        )
        is_good = is_good and outcome.is_good
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
