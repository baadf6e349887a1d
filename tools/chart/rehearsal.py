"""Run the chart without a cluster: its variables, its jobs, its probes, its triggers.

    make chart-run

Renders the chart with two shards and the pool of system playbooks, makes the Secrets that
`tools/chart_secrets` prints, and starts a process for each Deployment with exactly the variables
that its pod would have; only hosts and ports are those of this machine. Real NATS with the users of
the chart's services, real PostgreSQL with their roles. Then a playbook runs, the pool of system
playbooks cleans up, each trigger is asked as KEDA asks it, and all processes get SIGTERM.
"""

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from manifests import Document, Manifests, Pod, name_of
from mounts import mounted, with_folders
from noetl.commands.logins import password_variable
from noetl.stack.process import free_port
from noetl.stack.servers.nats import NatsInstance
from noetl_contract.documents.broker_logins import Pool
from noetl_contract.documents.broker_users import broker_users
from noetl_testkit.oracles.judging import judge
from noetl_testkit.postgres import Database, running_postgres
from noetl_testkit.process import start
from noetl_testkit.waiting import wait_for, wait_until
from pooler import Between
from rendering import ROOT, Helm, packed

POOLS = ("shared", "system")
_READY_SECONDS = 120.0
_COMMANDS = 20
_SLOW = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: slow, path: rehearsal/slow}}
workflow:
  - step: start
    tool: {{kind: shell, command: sleep {seconds}}}
"""
_EDGE = re.compile(r"http://noetl\.flow\.svc:8082")
_REFERENCE = re.compile(r"\$\((\w+)\)")


@dataclass
class Cluster:
    """Stand-in for a cluster: Secrets, ports of Services, processes of Deployments."""

    folder: Path
    manifests: Manifests
    secrets: dict[str, dict[str, str]]
    database: Database
    monitor: int
    volumes: Path
    """For the folders of pods; not below folders that scripts share."""
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def edge(self) -> str:
        """Address of the edge."""
        return f"http://127.0.0.1:{self.ports['noetl-api-gateway']}"

    def variables(self, pod: Pod) -> dict[str, str]:
        """Return the variables of a pod as the kubelet would make them."""
        made: dict[str, str] = {}
        for one in pod.containers[0]["env"]:
            source = one.get("valueFrom", {})
            if "secretKeyRef" in source:
                key = source["secretKeyRef"]
                made[one["name"]] = self.secrets[key["name"]][key["key"]]
            elif "fieldRef" in source:
                made[one["name"]] = f"{name_of(pod.owner)}-{secrets.token_hex(3)}"
            else:
                text = _REFERENCE.sub(lambda found: made[found[1]], one["value"])
                made[one["name"]] = self.here(text)
        made = with_folders(made, pod, self.volumes)
        return mounted(made, pod, self.secrets, self.folder)

    def database_named(self, name: str) -> Database:
        """Return a database of the server, with the owner's login."""
        return replace(self.database, name=name)

    def here(self, text: str) -> str:
        """Return a text with the edge's address on this machine."""
        return _EDGE.sub(self.edge, text)

    def job(self, name: str) -> str:
        """Run a Job's command and return its output."""
        pod = next(one for one in self.manifests.pods() if name_of(one.owner) == name)
        done = subprocess.run(
            [self.here(word) for word in self._command(pod)],
            env={"PATH": _path(), "HOME": str(self.folder), **self.variables(pod)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def _command(self, pod: Pod) -> list[str]:
        """Return a Job's command, with the files of its ConfigMap on this machine."""
        words = [sys.executable if one == "python" else one for one in pod.containers[0]["command"]]
        mounts = {one["name"]: one["mountPath"] for one in pod.containers[0]["volumeMounts"]}
        files = {name_of(one): one["data"] for one in self.manifests.of("ConfigMap")}
        for volume in pod.spec["volumes"]:
            if "configMap" not in volume:
                continue
            place = self.folder / volume["name"]
            place.mkdir(exist_ok=True)
            for name, text in files[volume["configMap"]["name"]].items():
                (place / name).write_text(self.here(text))
            words = [word.replace(mounts[volume["name"]], str(place)) for word in words]
        return words

    def start(self, pod: Pod, name: str | None = None) -> None:
        """Start a process of a Deployment on a port of its own.

        Args:
            pod: its manifest, of which the process gets the variables.
            name: of the process; by default that of the Deployment, which has one only.
        """
        name = name or name_of(pod.owner)
        self.ports.setdefault(name, free_port())
        module = f"noetl_{pod.labels['app.kubernetes.io/component'].replace('-', '_')}"
        own = {"NOETL_HTTP_PORT": str(self.ports[name])}
        # Nothing of our own environment: a pod has what its manifest says.
        environment = {"PATH": _path(), "HOME": str(self.folder), **self.variables(pod), **own}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_ready(self, pod: Pod) -> bool:
        """Return whether the readiness probe succeeds.

        Raises:
            RuntimeError: the process has ended.
        """
        name = name_of(pod.owner)
        if self.processes[name].poll() is not None:
            log = (self.folder / f"{name}.log").read_text()[-3000:]
            raise RuntimeError(f"{name} ended with {self.processes[name].returncode}: {log}")
        return self.answers(pod, name)

    def answers(self, pod: Pod, name: str) -> bool:
        """Return whether the readiness probe of a process of a Deployment succeeds."""
        path = pod.containers[0]["readinessProbe"]["httpGet"]["path"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=3):
                return True
        except OSError:
            return False

    def messages_of(self, stream: str) -> int:
        """Return how many messages a stream has, by the broker's monitor."""
        shown = json.loads(ask(f"http://127.0.0.1:{self.monitor}/jsz?streams=true"))
        for account in shown["account_details"]:
            for one in account["stream_detail"]:
                if one["name"] == stream:
                    return int(one["state"]["messages"])
        raise LookupError(f"no stream {stream}")

    def stop(self) -> dict[str, tuple[int, float]]:
        """Send SIGTERM to all processes; return exit codes and seconds by name."""
        began = time.monotonic()
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        ended: dict[str, tuple[int, float]] = {}

        def all_ended() -> bool:
            for name, process in self.processes.items():
                if name not in ended and process.poll() is not None:
                    ended[name] = (process.returncode, time.monotonic() - began)
            return len(ended) == len(self.processes)

        wait_until(all_ended, what="all processes have ended", timeout_seconds=60)
        return ended


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def ask(url: str, *, token: str = "", body: Mapping[str, Any] | None = None) -> str:
    """Return the body of an answer.

    Args:
        url: where it is asked.
        token: what is shown.
        body: what is posted.
    """
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 (ours)
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (ours)
        text: str = answer.read().decode()
    return text


def value_of(cluster: Cluster, trigger: Document) -> float:
    """Return the number of a trigger, read as KEDA 2.20 reads it.

    Raises:
        LookupError: there is none.
    """
    metadata = trigger["metadata"]
    if trigger["type"] == "nats-jetstream":
        place = f"http://127.0.0.1:{cluster.monitor}/jsz"
        account = metadata["account"]
        shown = json.loads(ask(f"{place}?acc={account}&consumers=true&config=true"))
        for one in shown["account_details"]:
            for stream in one["stream_detail"] if one["name"] == account else ():
                for consumer in stream.get("consumer_detail") or ():
                    if (stream["name"], consumer["name"]) == (
                        metadata["stream"],
                        metadata["consumer"],
                    ):
                        return float(consumer["num_pending"] + consumer["num_ack_pending"])
        raise LookupError(f"no durable {metadata['stream']}/{metadata['consumer']}")
    host, _, path = metadata["url"].removeprefix("http://").partition("/")
    name = host.partition(".")[0]
    port = cluster.ports["noetl-api-gateway" if name == "noetl" else name]
    login = trigger.get("authenticationRef")
    text = ask(
        f"http://127.0.0.1:{port}/{path}", token=_token(cluster, login["name"]) if login else ""
    )
    if metadata.get("format") != "prometheus":
        return float(json.loads(text)[metadata["valueLocation"]])
    # The labels may stand in any order.
    wanted, labels = metadata["valueLocation"].partition("{")[0], _labels(metadata["valueLocation"])
    for line in text.splitlines():
        series, _, number = line.rpartition(" ")
        if series.partition("{")[0] == wanted and labels <= _labels(series):
            return float(number)
    raise LookupError(f"no gauge {metadata['valueLocation']}")


def _labels(series: str) -> set[tuple[str, str]]:
    return set(re.findall(r'(\w+)="([^"]*)"', series))


def _token(cluster: Cluster, name: str) -> str:
    for one in cluster.manifests.of("TriggerAuthentication"):
        if name_of(one) == name:
            (place,) = one["spec"]["secretTargetRef"]
            return cluster.secrets[place["name"]][place["key"]]
    raise LookupError(f"no TriggerAuthentication {name}")


def printed_secrets(owner: str) -> dict[str, dict[str, str]]:
    """Return the output of `tools/chart_secrets`, by name and key."""
    done = subprocess.run(
        [str(ROOT / "tools" / "chart_secrets"), *POOLS],
        env={"PATH": os.environ["PATH"], "POSTGRES_PASSWORD": owner},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name_of(one): one["stringData"] for one in yaml.safe_load_all(done.stdout)}


def values(database: Database, *, nats: int, monitor: int) -> dict[str, Any]:
    """Return the values of a release with two shards."""
    place = {"host": database.host, "port": database.port}
    return {
        "nats": {"url": f"nats://127.0.0.1:{nats}", "monitoringEndpoint": f"127.0.0.1:{monitor}"},
        "postgres": {
            **place,
            "database": "noetl_cluster",
            "adminUser": database.user,
            "sslMode": "disable",
            "shards": [{**place, "database": f"noetl_{index}"} for index in range(2)],
        },
    }


@contextmanager
def servers(
    folder: Path, more: Mapping[str, Any], between: Between | None = None
) -> Iterator[Cluster]:
    """Run NATS and PostgreSQL, and render the chart for them.

    Args:
        folder: for their files.
        more: values beside those that lead to them.
        between: a pooler that services reach PostgreSQL by.
    """
    # Ended from outside it takes its processes with it, as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        database = stack.enter_context(running_postgres(folder / "postgres")).maintenance
        made = printed_secrets(database.password)
        users = broker_users(Pool(pool) for pool in POOLS)
        nats = NatsInstance(
            directory=folder / "nats",
            name="nats-0",
            port=free_port(),
            monitor_port=free_port(),
            users=users,
            passwords={one.name: made["noetl-nats"][password_variable(one.name)] for one in users},
        )
        nats.prepare()
        broker = start(nats.command(), log=folder / "nats.log")
        stack.callback(broker.wait, 20)
        stack.callback(broker.terminate)
        wait_until(nats.is_ready, what="NATS is ready")
        monitor = nats.monitor_port or 0
        archive = stack.enter_context(packed())
        given = {**values(database, nats=nats.port, monitor=monitor), **more}
        # All load comes from one address, as fast as the machine is.
        given["server"] = {**given.get("server", {}), "env": {"NOETL_RATE_LIMITING": "off"}}
        if between is not None:
            stack.enter_context(between.running(folder / "pooler", database))
            given["postgres"] = between.values(given["postgres"])
        volumes = stack.enter_context(TemporaryDirectory(dir="/var/tmp"))
        rendered = Helm(archive).render(given)
        cluster = Cluster(folder, rendered, made, database, monitor, Path(volumes))
        stack.callback(_kill, cluster)
        yield cluster


def _kill(cluster: Cluster) -> None:
    for process in cluster.processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()


def deployments(cluster: Cluster) -> list[Pod]:
    """Return the pods of all Deployments."""
    return [one for one in cluster.manifests.pods() if one.owner["kind"] == "Deployment"]


def install(
    cluster: Cluster, pods: list[Pod], *, also: Callable[[], None] = lambda: None
) -> Iterator[str]:
    """Migrate and start the processes of some Deployments, one each.

    Args:
        cluster: where they run.
        pods: the pods' manifests.
        also: starts others on which these wait.
    """
    cluster.ports = {name_of(one.owner): free_port() for one in deployments(cluster)}
    began = time.monotonic()
    cluster.job("noetl-migrate")
    yield f"migrated and made the roles: {time.monotonic() - began:.1f} s"
    for pod in pods:
        cluster.start(pod)
    also()
    wait_until(
        lambda: all(cluster.is_ready(pod) for pod in pods),
        what="all are ready",
        timeout_seconds=_READY_SECONDS,
        every_seconds=0.1,
    )
    yield f"{len(pods)} processes ready: {time.monotonic() - began:.1f} s"


def rehearse(cluster: Cluster) -> Iterator[str]:
    """Install, run, scale, stop; report each."""
    yield from install(cluster, deployments(cluster))
    yield f"register: {cluster.job('noetl-register').replace('\n', '; ')}"
    yield f"register again: {cluster.job('noetl-register').replace('\n', '; ')}"
    yield f"playbook: {_playbook(cluster)}"
    yield f"system/scheduled_cleanup: {_cleanup(cluster)}"
    yield f"logs: {_judged(cluster)}"
    for scaler in cluster.manifests.of("ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            # Processor time is counted by kubelets: no process of ours is asked for it.
            shown = (
                "processor time" if trigger["type"] == "cpu" else f"{value_of(cluster, trigger):g}"
            )
            yield f"{name_of(scaler)}, {trigger['name']}: {shown}"
    yield f"noetl-worker-shared, demand under {_COMMANDS} commands: {_demand(cluster):g}"
    for name, (code, seconds) in cluster.stop().items():
        if code != 0:
            raise RuntimeError(f"{name} ended with {code}")
        yield f"{name} stopped: {seconds:.1f} s"


def _judged(cluster: Cluster) -> str:
    """Have the oracles look at both shards.

    Raises:
        RuntimeError: they found something.
    """
    dsns = [cluster.database_named(f"noetl_{index}").dsn for index in range(2)]
    findings = asyncio.run(judge(*dsns))
    if findings.problems:
        raise RuntimeError("\n".join(findings.problems))
    return findings.line()


def _playbook(cluster: Cluster) -> str:
    key = cluster.secrets["noetl-catalog"]["access-keys"].partition("=")[2]
    file = str(ROOT / "examples" / "parallel_join.yaml")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("noetl-server")),
            "run",
            "--server-url",
            cluster.edge,
            "--token",
            key,
            file,
        ],
        env={"PATH": _path(), "HOME": str(cluster.folder)},
        cwd=cluster.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return json.dumps(json.loads(done.stdout))


def register(cluster: Cluster, playbook: str) -> str:
    """Register a playbook; return the key with which it may be started."""
    key = cluster.secrets["noetl-catalog"]["access-keys"].partition("=")[2]
    ask(f"{cluster.edge}/api/catalog/register", token=key, body={"content": playbook})
    return key


def start_commands(cluster: Cluster, count: int, *, seconds: int) -> list[str]:
    """Start executions of one command each; return their ids."""
    key = register(cluster, _SLOW.format(seconds=seconds))
    body = {"path": "rehearsal/slow"}
    replies = [ask(f"{cluster.edge}/api/execute", token=key, body=body) for _ in range(count)]
    return [str(json.loads(one)["execution_id"]) for one in replies]


def _demand(cluster: Cluster) -> float:
    """Start more commands than a worker runs at once; return the demand once all are there."""
    start_commands(cluster, _COMMANDS, seconds=8)
    scaled = {name_of(one): one["spec"] for one in cluster.manifests.of("ScaledObject")}
    trigger = scaled["noetl-worker-shared"]["triggers"][0]
    found = wait_for(
        lambda: value if (value := value_of(cluster, trigger)) >= _COMMANDS else None,
        what="the demand is that of all commands",
        every_seconds=0.1,
    )
    wait_until(
        lambda: value_of(cluster, trigger) == 0,
        what="all commands have ended",
        timeout_seconds=60,
        every_seconds=0.2,
    )
    return found


def _cleanup(cluster: Cluster) -> str:
    """Start it as its schedule does, and wait for its end."""
    token = cluster.secrets["noetl-internal-api-token"]["internal-api-token"]
    files = next(cluster.manifests.of("ConfigMap"))["data"]
    spec = yaml.safe_load(cluster.here(files["2-system.scheduled_cleanup_times.yaml"]))["spec"]
    body = {"path": spec["playbook"], "payload": spec["payload"]}
    started = json.loads(ask(f"{cluster.edge}/api/execute", token=token, body=body))
    url = f"{cluster.edge}/api/executions/{started['execution_id']}/status"

    def ended() -> str | None:
        status = str(json.loads(ask(url, token=token))["status"])
        return status if status in {"COMPLETED", "FAILED", "CANCELLED"} else None

    status = wait_for(ended, what="the clean-up has ended", timeout_seconds=60, every_seconds=0.1)
    if status != "COMPLETED":
        raise RuntimeError(ask(url, token=token))
    return status


def main() -> int:
    """Rehearse and print."""
    with (
        TemporaryDirectory() as folder,
        servers(Path(folder), {"workerPool": {"enabled": True}}) as cluster,
    ):
        for line in rehearse(cluster):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
