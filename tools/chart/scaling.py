"""Autoscalers: one for each Deployment, of a form that KEDA takes, with numbers of the code's."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from manifests import Document, Manifests, name_of, place_of, scaler_targets
from noetl_contract.http.system.internal import PoolDemandAnswer
from noetl_contract.streams import DurableSpec, ingress_durable, pool_durable, projector_durable
from noetl_outbox.app import KINDS

# What a ScaledObject of ours may say; KEDA drops other keys without a word.
_SPEC = frozenset(
    {
        *("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval"),
        *("cooldownPeriod", "advanced", "triggers"),
    }
)
_TRIGGER = frozenset({"type", "name", "metadata", "authenticationRef", "metricType"})
# By type of trigger: the keys that are needed, and those that may be there too.
_METADATA: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "nats-jetstream": (
        frozenset(
            {
                *("natsServerMonitoringEndpoint", "account", "stream", "consumer"),
                *("lagThreshold", "activationLagThreshold"),
            }
        ),
        frozenset({"useHttps"}),
    ),
    "metrics-api": (
        frozenset({"url", "valueLocation", "targetValue", "activationTargetValue"}),
        frozenset({"format", "authMode"}),
    ),
    "cpu": (frozenset({"value"}), frozenset()),
}
_THRESHOLDS = ("lagThreshold", "targetValue", "value")
_ACTIVATIONS = ("activationLagThreshold", "activationTargetValue")
_DEMAND = re.compile(r"/api/internal/pools/([A-Za-z0-9_-]+)/demand")
_GAUGE = re.compile(r'noetl_outbox_pending\{shard="(\d+)",kind="(\w+)"\}')


def scalers(manifests: Manifests) -> Iterator[str]:
    """Find Deployments with two autoscalers, with one and a number beside it, or with neither."""
    scaled = Counter(target for _, target in scaler_targets(manifests))
    for one in manifests.of("Deployment"):
        count, has_number = scaled[name_of(one)], "replicas" in one["spec"]
        if count > 1:
            yield f"{place_of(one)}: has {count} autoscalers"
        if count and has_number:
            yield f"{place_of(one)}: has an autoscaler and a number of replicas"
        if not count and not has_number:
            yield f"{place_of(one)}: has no number of replicas"


def bounds(manifests: Manifests) -> Iterator[str]:
    """Find autoscalers whose bounds are the wrong way round, or that shrink in one step."""
    for one, _ in scaler_targets(manifests):
        spec = one["spec"]
        if one["kind"] == "ScaledObject":
            least, most = spec.get("minReplicaCount"), spec.get("maxReplicaCount")
            config = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
            allowed = 0
        else:
            least, most, config = spec.get("minReplicas"), spec.get("maxReplicas"), spec
            # Kubernetes refuses none, which is KEDA's alone.
            allowed = 1
        if not (
            isinstance(least, int)
            and isinstance(most, int)
            and allowed <= least <= most
            and most > 0
        ):
            yield f"{place_of(one)}: runs from {least} to {most} processes"
        down = config.get("behavior", {}).get("scaleDown", {})
        steps = [policy for policy in down.get("policies", []) if policy.get("type") == "Pods"]
        if not steps or down.get("stabilizationWindowSeconds", 0) < 60:
            yield f"{place_of(one)}: takes processes away all at once"


def processor_time(manifests: Manifests) -> Iterator[str]:
    """Find autoscalers by processor time of pods that don't say how much they ask for."""
    pods = {name_of(pod.owner): pod for pod in manifests.pods()}
    for one, target in scaler_targets(manifests):
        triggers = one["spec"].get("triggers", [])
        if one["kind"] == "ScaledObject" and all(each.get("type") != "cpu" for each in triggers):
            continue
        pod = pods.get(target)
        for container in pod.containers if pod else []:
            if "cpu" not in container.get("resources", {}).get("requests", {}):
                yield f"{place_of(one)}: counts parts of a request for cpu that is not there"


def triggers(manifests: Manifests) -> Iterator[str]:
    """Find triggers of a form that KEDA refuses or reads otherwise."""
    for one in manifests.of("ScaledObject"):
        place = place_of(one)
        for key in sorted(set(one["spec"]) - _SPEC):
            yield f"{place}: KEDA has no {key}"
        found = one["spec"].get("triggers") or []
        if not found:
            yield f"{place}: has no trigger"
        for name, count in Counter(trigger.get("name") for trigger in found).items():
            if count > 1:
                yield f"{place}: {count} triggers are called {name}"
        for trigger in found:
            yield from (f"{place}: {what}" for what in _malformed(trigger))


def _malformed(trigger: Document) -> Iterator[str]:
    for key in sorted(set(trigger) - _TRIGGER):
        yield f"a trigger has no {key}"
    kind, metadata = trigger.get("type"), trigger.get("metadata") or {}
    if kind not in _METADATA:
        yield f"we have no trigger of type {kind}"
        return
    needed, more = _METADATA[kind]
    for key in sorted(needed - set(metadata)):
        yield f"{kind} lacks {key}"
    for key in sorted(set(metadata) - needed - more):
        yield f"{kind} has no {key}"
    yield from _misread(metadata)
    if ("authenticationRef" in trigger) != (metadata.get("authMode") == "bearer"):
        yield "authMode and authenticationRef go together"


def _misread(metadata: Document) -> Iterator[str]:
    for key, value in metadata.items():
        if not isinstance(value, str) or not value:
            yield f"{key} is {value!r} and has to be a text"
    for key in _THRESHOLDS:
        if key in metadata and not _is_positive(metadata[key]):
            yield f"{key} is {metadata[key]!r} and has to be above 0"
    for key in _ACTIVATIONS:
        if metadata.get(key, "0") != "0":
            yield f"{key} is {metadata[key]!r}: a single one would wait for ever"


def _is_positive(value: Any) -> bool:
    return isinstance(value, str) and value.isdecimal() and int(value) > 0


def durables(manifests: Manifests) -> Iterator[str]:
    """Find streams, durables, pools and gauges that are not those of the code."""
    wanted = {name_of(one): _expected(one) for one in manifests.of("Deployment")}
    for one in manifests.of("Deployment"):
        spec, notes = wanted[name_of(one)], one["metadata"].get("annotations", {})
        says = (notes.get("noetl.io/stream"), notes.get("noetl.io/durable"))
        if spec is not None and says != (spec.stream, spec.name):
            yield f"{place_of(one)}: reads {spec.stream}/{spec.name}, and says {says[0]}/{says[1]}"
    for one, target in scaler_targets(manifests):
        spec = wanted.get(target)
        found = one["spec"].get("triggers", [])
        lags = [trigger["metadata"] for trigger in found if trigger.get("type") == "nats-jetstream"]
        for lag in lags:
            says = (lag.get("stream"), lag.get("consumer"))
            if spec is None or says != (spec.stream, spec.name):
                yield f"{place_of(one)}: is scaled by {says[0]}/{says[1]}, which it doesn't read"
        if spec is not None and not lags and one["kind"] == "ScaledObject":
            yield f"{place_of(one)}: no trigger reads {spec.stream}/{spec.name}"
        labels = _labels(manifests, target)
        for trigger in found:
            if trigger.get("type") == "metrics-api":
                yield from (
                    f"{place_of(one)}: {what}" for what in _asked(manifests, trigger, labels)
                )


def _expected(deployment: Document) -> DurableSpec | None:
    """Return the durable that the processes of a Deployment read, by the code."""
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    shard = int(labels.get("noetl.io/shard", 0))
    match labels.get("app.kubernetes.io/component"):
        case "worker":
            return pool_durable(labels["noetl.io/pool"])
        case "orchestrator":
            return ingress_durable(shard)
        case "projector":
            return projector_durable(shard)
    return None


def _asked(manifests: Manifests, trigger: Document, labels: dict[str, str]) -> Iterator[str]:
    """Find problems with the address and the place of a number."""
    metadata = trigger["metadata"]
    url = urlsplit(str(metadata.get("url", "")))
    hosts = {
        f"{name_of(one)}.{manifests.namespace}.svc:{port['port']}"
        for one in manifests.of("Service")
        for port in one["spec"]["ports"]
    }
    if url.netloc not in hosts:
        yield f"asks {url.netloc}, which is no Service"
    if url.path == "/metrics":
        gauge = _GAUGE.fullmatch(str(metadata.get("valueLocation")))
        if not gauge or gauge[2] not in KINDS or metadata.get("format") != "prometheus":
            yield f"no gauge is {metadata.get('valueLocation')}"
        elif gauge[1] != labels.get("noetl.io/shard"):
            yield f"is scaled by the rows of shard {gauge[1]}"
        return
    demand = _DEMAND.fullmatch(url.path)
    if not demand or metadata.get("valueLocation") not in PoolDemandAnswer.model_fields:
        yield f"no number is at {url.path}, {metadata.get('valueLocation')}"
    elif metadata["valueLocation"] != "total":
        yield f"is scaled by {metadata['valueLocation']}, which leaves out what runs or waits"
    elif demand[1] != labels.get("noetl.io/pool"):
        yield f"is scaled by the demand of the pool {demand[1]}"


def slots(manifests: Manifests) -> Iterator[str]:
    """Find pools whose targets are not the number of commands that a worker runs at once."""
    for one, target in scaler_targets(manifests):
        taken = _variables(manifests, target).get("WORKER_MAX_CONCURRENT")
        if taken is None:
            continue
        for trigger in one["spec"].get("triggers", []):
            for key in _THRESHOLDS:
                value = trigger.get("metadata", {}).get(key)
                if value is not None and value != taken:
                    yield f"{place_of(one)}: {key} is {value}, a worker takes {taken}"


def _labels(manifests: Manifests, target: str) -> dict[str, str]:
    for pod in manifests.pods():
        if name_of(pod.owner) == target:
            return pod.labels
    return {}


def _variables(manifests: Manifests, target: str) -> dict[str, str]:
    for pod in manifests.pods():
        if name_of(pod.owner) == target:
            return {one["name"]: one.get("value", "") for one in pod.containers[0].get("env", [])}
    return {}
