"""A Kubernetes of one node for a proof: etcd, API server, controllers, scheduler and kubelet.

The programs come from a folder, as `NOETL_KUBE_BINARIES` names it, and etcd from the path. The
kubelet runs containers by the shim for Docker that Kubernetes had until 1.23.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson
from engine import CommandFailedError, Engine, NoEngineError, run
from lightkube import Client, KubeConfig
from noetl.stack.process import free_port

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PAUSE = "noetl-proof-pause:1"
NODE = "proof-node"
_SECONDS = 180.0
_AUDIT = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
_GATES = "--feature-gates=TTLAfterFinished=true"


@dataclass
class ControlPlane:
    """Processes of the control plane, with their files below one folder.

    Attributes:
        address: of the node, as the API server reaches the kubelet.
        token: of the administrator.
    """

    folder: Path
    binaries: Path
    engine: Engine
    address: str
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://{self.address}:{self.port}"

    @property
    def audit_log(self) -> Path:
        """Every call to the API server, a JSON object a line."""
        return self.folder / "audit.log"

    def kubeconfig(self, token: str) -> dict[str, object]:
        """Return address and login of the user with a token."""
        authority = str(self.folder / "tls" / "apiserver.crt")
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [
                {"name": "k", "cluster": {"server": self.url, "certificate-authority": authority}}
            ],
            "users": [{"name": "u", "user": {"token": token}}],
        }

    def client(self) -> Client:
        """Return a client of the administrator."""
        return Client(config=KubeConfig.from_dict(self.kubeconfig(self.token)), trust_env=False)

    def start(self, name: str, *words: str) -> None:
        """Start a program, whose output goes to a file of its name."""
        program = shutil.which(name) or str(self.binaries / name)
        with (self.folder / f"{name}.log").open("ab") as output:
            self.running[name] = subprocess.Popen(
                [program, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait(self, name: str, url: str) -> None:
        """Wait until a program answers.

        Raises:
            NoEngineError: it ended, or took too long; the text has the end of its output.
        """
        deadline = time.monotonic() + _SECONDS
        login = {"authorization": f"Bearer {self.token}"}
        while self.running[name].poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(url, headers=login, verify=False, timeout=5).is_success:  # noqa: S501 -- ours
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        said = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
        raise NoEngineError(f"{name} can't run here: {said}")

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a program."""
        process = self.running.pop(name)
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_all(self) -> None:
        """Start everything in its order."""
        self._write_files()
        store, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.start(
            "etcd",
            *("--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", store, "--advertise-client-urls", store),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )
        self.wait("etcd", f"{store}/health")
        self.start(
            "kube-apiserver",
            f"--etcd-servers={store}",
            *(
                f"--secure-port={self.port}",
                "--cert-dir=tls",
                f"--advertise-address={self.address}",
            ),
            *("--token-auth-file=tokens", "--authorization-mode=RBAC"),
            *("--service-account-issuer=https://proof.invalid", "--service-account-key-file=key"),
            *("--service-account-signing-key-file=key", "--service-cluster-ip-range=10.96.0.0/24"),
            *("--audit-policy-file=audit.json", f"--audit-log-path={self.audit_log}"),
            "--kubelet-preferred-address-types=InternalIP",
            *("--endpoint-reconciler-type=none", "--default-not-ready-toleration-seconds=2"),
            *("--default-unreachable-toleration-seconds=2", _GATES),
        )
        self.wait("kube-apiserver", f"{self.url}/readyz")
        login = "--kubeconfig=admin"
        self.start(
            "kube-controller-manager",
            *(login, "--service-account-private-key-file=key", "--leader-elect=false"),
            *("--root-ca-file=tls/apiserver.crt", "--cert-dir=tls-controllers"),
            *(f"--secure-port={free_port()}", "--port=0", "--kube-api-qps=200"),
            *("--kube-api-burst=400", "--node-monitor-grace-period=30s"),
            *("--node-monitor-period=1s", "--pod-eviction-timeout=2s", _GATES),
        )
        self.start(
            "kube-scheduler",
            *(login, "--leader-elect=false", "--cert-dir=tls-scheduler", "--port=0"),
            f"--secure-port={free_port()}",
        )
        self.start_kubelet()

    def start_kubelet(self, *, free: str = "50Mi") -> None:
        """Start the kubelet, which adds its node.

        There are no folders of cgroups for pods: these are the one part that a machine may not
        let it have; the limits of containers are Docker's to keep.

        Args:
            free: memory below which it sends pods away.
        """
        socket = self.engine.environment.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        self.start(
            "kubelet",
            *("--kubeconfig=admin", f"--hostname-override={NODE}", f"--node-ip={self.address}"),
            *(f"--root-dir={self.folder}/kubelet", f"--cert-dir={self.folder}/tls-kubelet"),
            *("--container-runtime=docker", f"--docker-endpoint={socket}"),
            *(f"--pod-infra-container-image={PAUSE}", "--cgroup-driver=cgroupfs"),
            *("--cgroups-per-qos=false", "--enforce-node-allocatable=", "--max-pods=250"),
            *(f"--eviction-hard=memory.available<{free}", "--image-gc-high-threshold=100"),
            *("--authorization-mode=AlwaysAllow", "--serialize-image-pulls=false"),
            *(f"--port={free_port()}", "--healthz-port=0", "--fail-swap-on=false"),
            *("--kube-api-qps=100", "--kube-api-burst=200", "--event-qps=100"),
            *("--node-status-update-frequency=2s", "--event-burst=200"),
        )

    def _write_files(self) -> None:
        run(["openssl", "genrsa", "-out", str(self.folder / "key"), "2048"], timeout=60)
        line = f'{self.token},admin,admin,"system:masters"\n'
        (self.folder / "tokens").write_text(line)
        (self.folder / "audit.json").write_bytes(orjson.dumps(_AUDIT))
        (self.folder / "admin").write_bytes(orjson.dumps(self.kubeconfig(self.token)))

    def calls_of(self, user: str) -> dict[str, int]:
        """Return how often a user has called, by verb and resource, with the refused calls."""
        counts: dict[str, int] = {}
        for line in self.audit_log.read_bytes().splitlines():
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # the last line while it is written
            if event["user"].get("username") != user:
                continue
            thing = event.get("objectRef", {})
            part = f"/{thing['subresource']}" if "subresource" in thing else ""
            name = f"{event['verb']} {thing.get('resource', '')}{part}"
            is_refused = event.get("responseStatus", {}).get("code") in {401, 403}
            if is_refused:
                counts[f"{name} refused"] = counts.get(f"{name} refused", 0) + 1
            elif event["stage"] == "RequestReceived":
                counts[name] = counts.get(name, 0) + 1
        return counts


def make_pause(engine: Engine, base: str) -> None:
    """Make the image of the container that holds a pod's network."""
    script = "trap 'exit 0' TERM; sleep 2147483 & wait"
    made = engine.docker("create", base, "/bin/true").strip()
    try:
        command = orjson.dumps(["/bin/sh", "-c", script]).decode()
        engine.docker("commit", "--change", f"CMD {command}", made, PAUSE)
    finally:
        engine.docker("rm", made)


@contextmanager
def control_plane(folder: Path, binaries: str, engine: Engine) -> Iterator[ControlPlane]:
    """Run a control plane and a node for the length of the block.

    Raises:
        NoEngineError: a program is missing, or can't run here.
    """
    if not binaries:
        raise NoEngineError(f"NOETL_KUBE_BINARIES names no folder with {', '.join(PROGRAMS)}")
    places = Path(binaries).expanduser().resolve()
    missing = [name for name in PROGRAMS if not os.access(places / name, os.X_OK)]
    missing += [name for name in ("etcd", "openssl") if shutil.which(name) is None]
    if missing:
        raise NoEngineError(f"{', '.join(missing)}: not in {places}, nor on the path")
    folder.mkdir(parents=True, exist_ok=True)
    gateway = "{{range .IPAM.Config}}{{.Gateway}}{{end}}"
    address = engine.docker("network", "inspect", "bridge", "--format", gateway).strip()
    made = ControlPlane(folder, places, engine, address)
    try:
        made.start_all()
        yield made
    finally:
        for name in reversed(list(made.running)):
            made.stop(name)
        _clean(engine, folder)


def _clean(engine: Engine, folder: Path) -> None:
    """Remove the containers of pods, and the mounts of the kubelet."""
    left = engine.docker("ps", "--all", "--quiet", "--filter", "label=io.kubernetes.pod.name")
    if left.split():
        engine.docker("rm", "--force", *left.split(), timeout=300)
    mounts = Path("/proc/mounts").read_text().splitlines()
    for place in reversed([line.split()[1] for line in mounts]):
        if place.startswith(f"{folder}/"):
            try:
                run(["umount", "--lazy", place], timeout=30)
            except CommandFailedError:
                continue
