"""The Job and the Secret of a plan."""

from typing import Final

import orjson
from lightkube.models.batch_v1 import JobSpec
from lightkube.models.core_v1 import (
    Capabilities,
    Container,
    EmptyDirVolumeSource,
    EnvVar,
    EnvVarSource,
    KeyToPath,
    PersistentVolumeClaimVolumeSource,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    SeccompProfile,
    SecretKeySelector,
    SecretVolumeSource,
    SecurityContext,
    Toleration,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Secret

from noetl_worker.tools.containers.plan import SCRIPT, Mount, Plan

MAIN: Final = "main"
COMMAND_NOTE: Final = "noetl.command-id"
STEP_NOTE: Final = "noetl.step"
HIDDEN_NOTE: Final = "noetl.hidden"
TTL_NOTE: Final = "noetl.ttl-seconds"
REPORTED_NOTE: Final = "noetl.reported"
OVERDUE_NOTE: Final = "noetl.overdue"
AWAITED_NOTE: Final = "noetl.awaited"
OUTPUT_NOTE: Final = "noetl.output-select"
CALLBACK_KEY: Final = "callback"
ENV_KEY: Final = "env."
MASKED_KEY: Final = "masked"
_SCRIPT_FOLDER, _, _SCRIPT_FILE = SCRIPT.rpartition("/")
_SCRIPT_VOLUME: Final = "script"
_UNANSWERED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
# The cluster takes pods from a node so much later than we end what runs there, after which it
# would run the image again.
_LATER_SECONDS = 60


def secret_of(plan: Plan, *, owner_uid: str) -> Secret:
    """Return the Secret with the environment's values, the script and the callback's address.

    The Job owns it: the cluster removes both together.
    """
    values = {f"{ENV_KEY}{name}": value for name, value in plan.env.items()}
    if plan.script is not None:
        values[_SCRIPT_FILE] = plan.script
    if plan.masked:
        values[MASKED_KEY] = orjson.dumps(plan.masked).decode()
    owner = OwnerReference(apiVersion="batch/v1", kind="Job", name=plan.name, uid=owner_uid)
    return Secret(
        metadata=ObjectMeta(
            name=plan.name,
            namespace=plan.namespace,
            labels=plan.labels(),
            ownerReferences=[owner],
        ),
        stringData={**values, CALLBACK_KEY: plan.origin.callback},
    )


def job_of(plan: Plan, *, user: str, node_seconds: float) -> Job:
    """Return the Job: no privileges, no token, no path of the host, no host network.

    It has no time to live before its end has been reported, so that no end is lost; but if only
    one run waits for that, it has.

    Args:
        plan: the container.
        user: number of the user it runs as; empty: the image's.
        node_seconds: how long its node may be silent.
    """
    labels = plan.labels()
    notes = {
        COMMAND_NOTE: plan.origin.command_id,
        STEP_NOTE: plan.origin.step,
        HIDDEN_NOTE: ",".join(plan.hidden),
        TTL_NOTE: str(plan.ttl_seconds),
    }
    if plan.origin.output_select is not None:
        notes[OUTPUT_NOTE] = orjson.dumps(plan.origin.output_select).decode()
    if plan.is_awaited:
        notes[AWAITED_NOTE] = "true"
    return Job(
        metadata=ObjectMeta(
            name=plan.name, namespace=plan.namespace, labels=labels, annotations=notes
        ),
        spec=JobSpec(
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=labels), spec=_pod(plan, user, node_seconds)
            ),
            backoffLimit=plan.backoff_limit,
            ttlSecondsAfterFinished=plan.ttl_seconds if plan.is_awaited else None,
            # Without further tries none takes the place of a pod that is only being sent away.
            podReplacementPolicy=None if plan.backoff_limit else "Failed",
            activeDeadlineSeconds=plan.timeout_seconds,
        ),
    )


def _pod(plan: Plan, user: str, node_seconds: float) -> PodSpec:
    seconds = int(node_seconds) + _LATER_SECONDS
    return PodSpec(
        tolerations=[
            Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=seconds)
            for key in _UNANSWERED
        ],
        containers=[_container(plan, user)],
        restartPolicy=plan.restart_policy,
        serviceAccountName=plan.service_account,
        # The token of an account is for those that name one.
        automountServiceAccountToken=plan.service_account is not None,
        enableServiceLinks=False,
        nodeSelector=plan.node_selector or None,
        securityContext=PodSecurityContext(seccompProfile=SeccompProfile(type="RuntimeDefault")),
        volumes=_volumes(plan) or None,
    )


def _container(plan: Plan, user: str) -> Container:
    number, _, group = user.partition(":")
    return Container(
        name=MAIN,
        image=plan.image,
        imagePullPolicy=plan.pull_policy,
        command=list(plan.command) or None,
        args=list(plan.args) or None,
        workingDir=plan.working_dir,
        env=_env(plan) or None,
        resources=ResourceRequirements(requests=plan.requests or None, limits=plan.limits),
        volumeMounts=_volume_mounts(plan) or None,
        securityContext=SecurityContext(
            allowPrivilegeEscalation=False,
            privileged=False,
            capabilities=Capabilities(drop=["ALL"]),
            runAsUser=int(number) if number else None,
            runAsGroup=int(group) if group else None,
        ),
    )


def _env(plan: Plan) -> list[EnvVar]:
    own = {name: (plan.name, f"{ENV_KEY}{name}") for name in plan.env}
    return [
        EnvVar(
            name=name,
            valueFrom=EnvVarSource(secretKeyRef=SecretKeySelector(name=secret, key=key)),
        )
        for name, (secret, key) in {**own, **plan.env_refs}.items()
    ]


def _mounts(plan: Plan) -> list[tuple[str, Mount]]:
    """Return the mounts with the names of their volumes.

    A claim is one volume, however often it is mounted: a kubelet waits for ever for its second.
    """
    first: dict[str, str] = {}
    return [
        (one.name if one.source is None else first.setdefault(one.source, one.name), one)
        for one in plan.mounts
    ]


def _volume_mounts(plan: Plan) -> list[VolumeMount]:
    found = [
        VolumeMount(name=volume, mountPath=one.path, readOnly=one.is_read_only or None)
        for volume, one in _mounts(plan)
    ]
    if plan.script is not None:
        found.append(VolumeMount(name=_SCRIPT_VOLUME, mountPath=_SCRIPT_FOLDER, readOnly=True))
    return found


def _volumes(plan: Plan) -> list[Volume]:
    found: dict[str, Volume] = {}
    if plan.script is not None:
        file = KeyToPath(key=_SCRIPT_FILE, path=_SCRIPT_FILE)
        source = SecretVolumeSource(secretName=plan.name, items=[file])
        found[_SCRIPT_VOLUME] = Volume(name=_SCRIPT_VOLUME, secret=source)
    for name, mount in _mounts(plan):
        if mount.source is None:
            found[name] = Volume(name=name, emptyDir=EmptyDirVolumeSource())
            continue
        is_fixed = all(one.is_read_only for other, one in _mounts(plan) if other == name)
        claim = PersistentVolumeClaimVolumeSource(claimName=mount.source, readOnly=is_fixed or None)
        found[name] = Volume(name=name, persistentVolumeClaim=claim)
    return list(found.values())
