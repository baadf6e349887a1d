"""A cluster for a proof: its accounts and rights, and its operator's view of containers."""

import time
from typing import Final

from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.core_v1 import (
    Container,
    HostPathVolumeSource,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
    PodSpec,
    VolumeMount,
    VolumeResourceRequirements,
)
from lightkube.models.core_v1 import Volume as PodVolume
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import (
    Namespace,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
    ServiceAccount,
    ServiceAccountToken,
)
from lightkube.resources.rbac_authorization_v1 import Role, RoleBinding
from lightkube.types import CascadeType
from noetl_testkit.waiting import wait_until
from rendering import NAMESPACE, Helm, packed
from texts import VOLUME

JOBS: Final = "noetl-proof-jobs"
ACCOUNT: Final = "trainer"
SECRET: Final = "of-playbooks"
_LABELS = {"noetl.tool-kind": ("container", "script")}
FOLDER: Final = "/var/lib/noetl-proof-gate"
_SECONDS = 60.0


class ClusterPlace:
    """A cluster, asked by its administrator.

    Args:
        client: of the administrator.
        image: of a container with a shell.
    """

    def __init__(self, client: Client, image: str) -> None:
        self.client = client
        self._image = image

    def names(self, *, every: bool) -> list[str]:
        """Return the names of Jobs and pods, or those of the Jobs whose pods run."""
        pods = list(self.client.list(Pod, namespace=JOBS, labels=dict(_LABELS)))
        if not every:
            return [
                str((pod.metadata.labels or {}).get("job-name"))
                for pod in pods
                if pod.status.phase == "Running"
            ]
        jobs = self.client.list(Job, namespace=JOBS, labels=dict(_LABELS))
        names = {str(one.metadata.name) for one in jobs}
        return [*names, *(str((pod.metadata.labels or {}).get("job-name")) for pod in pods
                          if (pod.metadata.labels or {}).get("job-name") not in names)]  # fmt: skip

    def remove(self, name: str) -> None:
        """Delete a Job with its pod."""
        self.client.delete(Job, name, namespace=JOBS, cascade=CascadeType.BACKGROUND)

    def in_gate(self, script: str) -> None:
        """Run a script in a pod with the volume's folder."""
        name = f"gate-{time.time_ns()}"
        folder = HostPathVolumeSource(path=FOLDER, type="DirectoryOrCreate")
        main = Container(
            name="main",
            image=self._image,
            imagePullPolicy="IfNotPresent",
            command=["/bin/sh", "-c", script],
            volumeMounts=[VolumeMount(name="gate", mountPath="/gate")],
        )
        self.client.create(
            Pod(
                metadata=ObjectMeta(name=name, namespace=JOBS),
                spec=PodSpec(
                    containers=[main],
                    restartPolicy="Never",
                    volumes=[PodVolume(name="gate", hostPath=folder)],
                ),
            )
        )
        wait_until(
            lambda: self.client.get(Pod, name, namespace=JOBS).status.phase == "Succeeded",
            what=f"the pod of {script!r} has succeeded",
            timeout_seconds=4 * _SECONDS,
            every_seconds=1,
        )
        self.client.delete(Pod, name, namespace=JOBS)


def prepare(client: Client) -> str:
    """Make namespaces, volume and accounts; return the name of the workers' account.

    The account has the rights that the chart gives to a pool with containers, and no others.
    """
    for space in (NAMESPACE, JOBS):
        client.create(Namespace(metadata=ObjectMeta(name=space)))
    client.create(_secret())
    client.create(ServiceAccount(metadata=ObjectMeta(name=ACCOUNT, namespace=JOBS)))
    for one in _volume():
        client.create(one)
    with packed() as archive:
        pools = {"proof": {"containers": {"namespace": JOBS}, "autoscaling": {"enabled": False}}}
        manifests = Helm(archive).render({"pools": pools}).documents
    account = ""
    for one in manifests:
        if one["kind"] == "Role" and one["metadata"]["namespace"] == JOBS:
            client.create(Role.from_dict(one))
        if one["kind"] == "RoleBinding" and one["metadata"]["namespace"] == JOBS:
            client.create(RoleBinding.from_dict(one))
            account = one["subjects"][0]["name"]
    client.create(ServiceAccount(metadata=ObjectMeta(name=account, namespace=NAMESPACE)))
    return account


def token_of(client: Client, account: str) -> str:
    """Return a token of an account of the release."""
    asked = ServiceAccountToken(
        metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[], expirationSeconds=86_400)
    )
    made = client.create(asked, account, namespace=NAMESPACE)
    return str(made.status.token)


def forget(client: Client) -> None:
    """Delete the namespaces, volume and accounts."""
    for space in (NAMESPACE, JOBS):
        _unless_gone(client, Namespace, space)
    _unless_gone(client, PersistentVolume, VOLUME)


def _unless_gone(client: Client, kind: type[Namespace | PersistentVolume], name: str) -> None:
    try:
        client.delete(kind, name)
    except ApiError as error:
        if error.status.code != 404:
            raise


def _secret() -> Secret:
    return Secret(
        metadata=ObjectMeta(name=SECRET, namespace=JOBS), stringData={"dsn": "pg://of-the-cluster"}
    )


def _volume() -> tuple[PersistentVolume, PersistentVolumeClaim]:
    modes = ["ReadWriteMany"]
    volume = PersistentVolume(
        metadata=ObjectMeta(name=VOLUME),
        spec=PersistentVolumeSpec(
            capacity={"storage": "1Gi"},
            accessModes=modes,
            hostPath=HostPathVolumeSource(path=FOLDER, type="DirectoryOrCreate"),
            persistentVolumeReclaimPolicy="Retain",
            storageClassName="",
        ),
    )
    claim = PersistentVolumeClaim(
        metadata=ObjectMeta(name=VOLUME, namespace=JOBS),
        spec=PersistentVolumeClaimSpec(
            accessModes=modes,
            volumeName=VOLUME,
            storageClassName="",
            resources=VolumeResourceRequirements(requests={"storage": "1Gi"}),
        ),
    )
    return volume, claim
