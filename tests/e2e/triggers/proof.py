"""Each message starts exactly one execution, through all kills: `make triggers`.

It prints the table of docs/triggers.md.
"""

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
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from ledger import dead_letters, memory_of, open_ledger, started
from noetl.stack.process import free_port
from noetl_testkit.brokers.rabbitmq import has_rabbitmq
from noetl_testkit.oracles.judging import judge
from noetl_testkit.stack import Stack, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from sources import KINDS, Source, bodies, poison, running_source

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: take, path: triggers/take}
workflow:
  - step: start
    tool: {kind: noop}
"""

CIRCUIT = {"probe_after_ms": 1000, "probe_interval_ms": 1000}
"""So that an outage costs the proof no half a minute each."""
POISON = 5
"""Messages of a round that can never be started."""
PATIENT: dict[str, Any] = {"timeout_seconds": 300, "every_seconds": 0.5}


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
        self.process = self.stack.start_worker(
            f"runtime-{self.path.replace('/', '-')}",
            log=self.log,
            # It is killed, and started again at the same port.
            is_warm=False,
            **{
                "WORKER_MODE": "subscription",
                "NOETL_SUBSCRIPTION_PATH": self.path,
                "NOETL_SUBSCRIPTION_POLL_SECONDS": "0.5",
                "NOETL_HTTP_PORT": str(self.port),
                **self.environment,
            },
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
        return self.process.wait(timeout=PATIENCE_SECONDS)


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


@dataclass
class Outcome:
    """Results of a proof."""

    source: str
    messages: int
    found: Counter[int]
    poison: int
    dead: Counter[int]
    kills: Counter[str]
    seconds: float
    memory: str

    @property
    def lost(self) -> list[int]:
        return sorted(set(range(self.messages)) - self.found.keys())

    @property
    def doubled(self) -> list[int]:
        return sorted(one for one, times in self.found.items() if times > 1)

    @property
    def is_good(self) -> bool:
        return not self.doubled and not self.lost and len(self.dead) == self.poison

    def row(self) -> str:
        """Return the line of the table."""
        kills = ", ".join(f"{one} {times}" for one, times in sorted(self.kills.items()))
        cells = (
            self.source,
            f"{self.messages:,}",
            f"{self.found.total():,}",
            len(self.lost),
            len(self.doubled),
            f"{len(self.dead)} of {self.poison}",
            kills,
            f"{self.seconds:.0f} s",
            self.memory,
        )
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| source | messages | executions | lost | doubled | poison in dead letters | SIGKILLs "
    "| time | memory of the reader |\n|---|---|---|---|---|---|---|---|---|"
)


@dataclass
class Proof:
    """Messages of one source, and the kills meanwhile."""

    stack: Stack
    source: Source
    runtime: Runtime
    kills: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)

    @property
    def victims(self) -> list[str]:
        """Names of the processes to kill, in turns; ``all`` is source, runtime and edge at once."""
        own = ["broker"] if self.source.can_restart else []
        return ["runtime", "edge", *own, "all", "nats", "orchestrator"]

    def kill(self, victim: str) -> None:
        """Kill something, and have it started again."""
        self.memory.append(memory_of(self.runtime.process and self.runtime.process.pid))
        self.kills[victim] += 1
        match victim:
            case "runtime":
                self.runtime.kill()
                self.runtime.start()
            case "edge":
                kill_service(self.stack, "api-gateway")
            case "broker":
                self.source.restart()
            case "all":
                self.runtime.kill()
                kill_service(self.stack, "api-gateway")
                if self.source.can_restart:
                    self.source.restart()
                self.runtime.start()
            case "nats" | "orchestrator":
                kill_service(self.stack, victim)


def prove(
    stack: Stack, source: Source, *, count: int, rounds: int, seed: int = 1, **spec: Any
) -> Outcome:
    """Send messages in rounds and kill something in each."""
    chance = random.Random(seed)
    path = f"triggers/{source.kind}{'-batch' if spec else ''}"
    register(stack, path, {"source": source.kind, "circuit": CIRCUIT, **source.fields(), **spec})
    begun = time.monotonic()
    firsts, poisoned = [number * count // rounds for number in range(rounds + 1)], 0
    with running_runtime(stack, path) as runtime, open_ledger(stack, path) as ledger:
        proof = Proof(stack, source, runtime)
        for number, (first, end) in enumerate(pairwise(firsts)):
            source.send(bodies(first, end - first))
            source.send([poison(1_000_000 + poisoned + one) for one in range(POISON)])
            poisoned += POISON
            done = first + chance.randint((end - first) // 10, (end - first) // 2)
            wait_until(lambda done=done: ledger.count() >= done, **PATIENT)
            victim = proof.victims[number % len(proof.victims)]
            say(f"{source.kind}: {ledger.count()} started, now {victim}", begun)
            proof.kill(victim)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: ledger.count() >= count, **PATIENT | {"timeout_seconds": 600})
            wait_until(lambda: len(dead_letters(stack)) >= poisoned)
        seconds = time.monotonic() - begun
        proof.memory.append(memory_of(runtime.process and runtime.process.pid))
        code = runtime.stop()
    say(f"{source.kind}: the runtime ended with {code}", begun)
    return Outcome(
        source=source.kind + (" in batches" if spec else ""),
        messages=count,
        found=started(stack, path),
        poison=poisoned,
        dead=dead_letters(stack),
        kills=proof.kills,
        seconds=seconds,
        memory=f"{min(proof.memory)} to {max(proof.memory)} MB",
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

    victims, memory = ["edge", "nats", "orchestrator"], []
    with ThreadPoolExecutor(8) as senders:
        sent = [senders.submit(deliver, number) for number in range(count)]
        for part in range(1, rounds):
            wait_until(
                lambda part=part: sum(one.done() for one in sent) >= part * count // rounds,
            )
            victim = victims[part % len(victims)]
            memory.append(memory_of(stack.services()["api-gateway"]["pid"]))
            say(f"webhook: {sum(one.done() for one in sent)} answered, now {victim}", begun)
            kill_service(stack, "api-gateway" if victim == "edge" else victim)
            kills[victim] += 1
    return Outcome(
        source="webhook",
        messages=count,
        found=started(stack, path),
        poison=0,
        dead=Counter(),
        kills=kills,
        seconds=time.monotonic() - begun,
        memory=f"{min(memory)} to {max(memory)} MB",
    )


def kill_service(stack: Stack, name: str) -> None:
    """SIGKILL a process of the stack, and wait for its successor."""
    pid = stack.services()[name]["pid"]
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: stack.services()[name]["pid"] not in {None, pid})


def say(text: str, begun: float) -> None:
    """Print the progress."""
    print(f"{time.monotonic() - begun:6.0f} s  {text}", flush=True)


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
    outcomes, problems = [], list[str]()
    kinds = given.sources.split(",")
    absent = [kind for kind in kinds if kind == "rabbitmq" and not has_rabbitmq()]
    for kind in [kind for kind in kinds if kind not in absent]:
        with ExitStack() as exits:
            stack = exits.enter_context(running_stack())
            if kind == "webhook":
                outcome = prove_webhook(stack, count=given.messages, rounds=given.rounds)
            else:
                source = exits.enter_context(running_source(kind))
                outcome = prove(stack, source, count=given.messages, rounds=given.rounds, **more)
            findings = asyncio.run(judge(stack.dsn()))
            problems += findings.problems
        print(findings.line(), *findings.problems[:20], sep="\n")
        outcomes.append(outcome)
        print(f"lost {outcome.lost[:20]}, doubled {outcome.doubled[:20]}\n{HEAD}\n{outcome.row()}")
    print("\n".join([HEAD, *(one.row() for one in outcomes)]), flush=True)
    for kind in absent:
        print(f"not proven: {kind}, whose server is not on this machine; the others are above")
    return 0 if all(one.is_good for one in outcomes) and not problems else 1


if __name__ == "__main__":
    sys.exit(main())
