"""Checks of pods: images, sizes, rights, probes, and the time they get to stop."""

import re
from collections.abc import Iterator
from pathlib import Path

from manifests import Document, Manifests, Pod, name_of, place_of

UID = 10001
MARGIN = 5
"""Seconds that a pod has beyond its process, at least."""

_IMAGE = re.compile(
    r"([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-][a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})"
)
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "Ki": 2.0**10,
    "M": 1e6,
    "Mi": 2.0**20,
    "G": 1e9,
    "Gi": 2.0**30,
    "T": 1e12,
    "Ti": 2.0**40,
}
# What scripts and queries of all executions reach, and what that is where nothing is said.
_SHARED_PATHS = {
    "NOETL_WORKER_SCRIPT_WRITE_PATHS": "/tmp,/dev/shm",  # noqa: S108 (paths in the pod)
    "NOETL_WORKER_SCRIPT_READ_PATHS": "",
    "NOETL_WORKER_DUCKDB_PATHS": "",
}
_PATHS = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def images(manifests: Manifests) -> Iterator[str]:
    """Find wrong names of images, and tags that may be another image tomorrow."""
    for pod in manifests.pods():
        for container in pod.containers:
            image = str(container.get("image", ""))
            if not _IMAGE.fullmatch(image):
                yield f"{pod.place}: {image!r} is no image with a tag or digest"
            elif image.endswith(":latest"):
                yield f"{pod.place}: {image} is another image each day"


def quantity(text: object) -> float | None:
    """Return an amount in cores or bytes; None for another text."""
    found = _QUANTITY.fullmatch(str(text))
    return float(found[1]) * _UNITS[found[2] or ""] if found else None


def sizes(manifests: Manifests) -> Iterator[str]:
    """Find amounts that are none, requests above their limit, and memory without a limit."""
    for pod in manifests.pods():
        for container in pod.containers:
            resources = container.get("resources", {})
            requests, limits = resources.get("requests", {}), resources.get("limits", {})
            for name, text in [*requests.items(), *limits.items()]:
                if quantity(text) is None:
                    yield f"{pod.place}: {text!r} is no amount of {name}"
            for name, text in requests.items():
                most = quantity(limits.get(name, ""))
                if most is not None and (quantity(text) or 0) > most:
                    yield f"{pod.place}: asks for {text} of {name}, above its limit"
            yield from _memory_files(pod, quantity(limits.get("memory", "")))


def _memory_files(pod: Pod, limit: float | None) -> Iterator[str]:
    if limit is None:
        yield f"{pod.place}: its memory has no limit"
    for volume in pod.spec.get("volumes", []):
        folder = volume.get("emptyDir")
        if folder is None:
            continue
        size = quantity(folder.get("sizeLimit", ""))
        if size is None:
            yield f"{pod.place}: the folder {volume['name']} has no limit"
        elif folder.get("medium") == "Memory" and limit is not None and size >= limit:
            yield f"{pod.place}: the folder {volume['name']} may take all of its memory"


def rights(manifests: Manifests) -> Iterator[str]:
    """Find pods that may do more than they need."""
    for pod in manifests.pods():
        own = pod.spec.get("securityContext", {})
        for container in pod.containers:
            merged = own | container.get("securityContext", {})
            yield from (f"{pod.place}: {what}" for what in _too_much(merged, container))
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.place}: the names of Services are put among its variables"
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(name):
                yield f"{pod.place}: has {name}"


def _too_much(context: Document, container: Document) -> Iterator[str]:
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") != UID:
        yield f"doesn't run as the user {UID}"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may get more rights than it has"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "has capabilities"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "may make every system call"
    if "/tmp" not in {mount["mountPath"] for mount in container.get("volumeMounts") or []}:  # noqa: S108 (a path in the pod)
        yield "has no place for files"


def places(manifests: Manifests) -> Iterator[str]:
    """Find workers whose scripts reach each other's directories, which then don't start."""
    for pod in manifests.pods():
        if pod.labels.get("app.kubernetes.io/component") != "worker":
            continue
        variables = {one["name"]: one.get("value", "") for one in pod.containers[0].get("env", [])}
        place = variables.get("NOETL_WORKER_SCRIPT_DIRECTORY", "")
        folders = {one["name"] for one in pod.spec.get("volumes", []) if "emptyDir" in one}
        mounts = pod.containers[0].get("volumeMounts") or []
        if place not in {one["mountPath"] for one in mounts if one["name"] in folders}:
            yield f"{pod.place}: directories of scripts have no folder of their own at {place!r}"
        for name, default in _SHARED_PATHS.items():
            for shared in filter(None, variables.get(name, default).split(",")):
                if Path(place).is_relative_to(shared.strip()):
                    yield f"{pod.place}: directories of scripts are below {shared} of {name}"


def probes(manifests: Manifests) -> Iterator[str]:
    """Find services without probes of their life and readiness."""
    for pod in manifests.pods():
        if pod.owner["kind"] != "Deployment":
            continue
        for container in pod.containers:
            for probe, path in _PATHS.items():
                if container.get(probe, {}).get("httpGet", {}).get("path") != path:
                    yield f"{pod.place}: {probe} doesn't ask {path}"


def stops(manifests: Manifests) -> Iterator[str]:
    """Find pods that are killed before their process has had its time, or much later."""
    for pod in manifests.pods():
        if pod.owner["kind"] != "Deployment":
            continue
        variables = {one["name"]: one.get("value", "") for one in pod.containers[0].get("env", [])}
        try:
            process = float(variables["NOETL_SHUTDOWN_GRACE_SECONDS"])
            process += float(variables.get("NOETL_DRAIN_DELAY_SECONDS", "0"))
        except (KeyError, ValueError):
            yield f"{pod.place}: its process isn't told how long it has to stop"
            continue
        given = pod.spec.get("terminationGracePeriodSeconds", 30)
        if not process + MARGIN <= given <= process + 60:
            yield f"{pod.place}: stops within {given} s, its process within {process:g} s"


def rollouts(manifests: Manifests) -> Iterator[str]:
    """Find Deployments that have fewer processes than wanted while they are renewed."""
    for one in manifests.of("Deployment"):
        rolling = one["spec"].get("strategy", {}).get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0 or rolling.get("maxSurge") != 1:
            yield f"{place_of(one)}: takes a process away before another is ready"


def hooks(manifests: Manifests) -> Iterator[str]:
    """Find migrations that don't run before the services, or for ever."""
    for one in manifests.of("Job"):
        place = place_of(one)
        annotations = one["metadata"].get("annotations", {})
        when = set(annotations.get("helm.sh/hook", "").split(","))
        if name_of(one).endswith("-migrate") and when != {"pre-install", "pre-upgrade"}:
            yield f"{place}: doesn't run before each install and upgrade"
        if "before-hook-creation" not in annotations.get("helm.sh/hook-delete-policy", ""):
            yield f"{place}: stands in the way of the next one"
        if not one["spec"].get("activeDeadlineSeconds"):
            yield f"{place}: may run for ever"
        needs = _needed_secrets(one)
        for secret in manifests.of("Secret"):
            made = secret["metadata"].get("annotations", {})
            if secret["metadata"]["name"] in needs and not _is_before(made, annotations):
                yield f"{place}: runs before its Secret {secret['metadata']['name']} is made"


def _needed_secrets(job: Document) -> set[str]:
    found = set()
    for container in job["spec"]["template"]["spec"]["containers"]:
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                found.add(reference["name"])
    return found


def _is_before(made: Document, hook: Document) -> bool:
    when = hook.get("helm.sh/hook", "")
    if when.startswith("post-"):
        return True
    same = made.get("helm.sh/hook") == when
    return same and int(made.get("helm.sh/hook-weight", 0)) < int(
        hook.get("helm.sh/hook-weight", 0)
    )
