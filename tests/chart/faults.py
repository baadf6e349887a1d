"""Faults to plant in rendered manifests, each with the check that has to find it."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pods
import references
import scaling
import schemas
import variables
from manifests import Document, Manifests, place_of

type Check = Callable[[Manifests], Iterable[str]]

GONE = object()
"""Stands for a value that is taken away."""


@dataclass(frozen=True)
class Fault:
    """A value put in the place of another.

    Attributes:
        check: who has to find it.
        told: part of what is found.
        place: kind and name of a document; empty for a further document.
        path: keys and numbers, divided by slashes, from the document to the value; `~` stands for
            a slash in a key, `+` for the end of a list.
        value: what stands there then.
        values: name of the set of values.
    """

    check: Check
    told: str
    place: str
    path: str
    value: Any
    values: str = "defaults"

    def planted(self, manifests: Manifests) -> Manifests:
        """Return the manifests with the fault."""
        if not self.place:
            return replace(manifests, documents=[*manifests.documents, self.value])
        return replace(manifests, documents=[self._changed(one) for one in manifests.documents])

    def _changed(self, document: Document) -> Document:
        if place_of(document) != self.place:
            return document
        changed = copy.deepcopy(document)
        keys = [key.replace("~", "/") for key in self.path.split("/")]
        *way, last = [int(key) if key.isdecimal() else key for key in keys]
        node: Any = changed
        for key in way:
            node = node[key]
        if self.value is GONE:
            del node[last]
        elif last == "+":
            node.append(self.value)
        else:
            node[last] = self.value
        return changed


EDGE = "Deployment/noetl-api-gateway"
OUTBOX = "Deployment/noetl-outbox-s0"
SHARED = "Deployment/noetl-worker-shared"
DECIDER = "Deployment/noetl-orchestrator-s0"
POOL = "ScaledObject/noetl-worker-shared"
SERVICE = "Service/noetl"
SPEC = "spec/template/spec"
MAIN = f"{SPEC}/containers/0"
LABELS = "spec/template/metadata/labels"
HPA = "HorizontalPodAutoscaler/noetl-api-gateway"

_SECOND = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "second"},
    "spec": {
        "scaleTargetRef": {"name": "noetl-worker-shared"},
        "minReplicas": 1,
        "maxReplicas": 2,
    },
}
_PODLESS = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "second"},
    "spec": {
        "maxUnavailable": 1,
        "selector": {"matchLabels": {"app.kubernetes.io/component": "catalog"}},
    },
}


def _env(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "value": value}


FAULTS: dict[str, Fault] = {
    # Kubernetes' own schemas.
    "a field with a wrong letter": Fault(
        schemas.fields, "spec.template.spec", EDGE, f"{SPEC}/serviceaccountName", "noetl"
    ),
    "a number written as a text": Fault(
        schemas.fields, "is not of type", EDGE, f"{SPEC}/terminationGracePeriodSeconds", "40"
    ),
    "a kind of another version": Fault(
        schemas.fields, "has no Deployment in", EDGE, "apiVersion", "apps/v1beta1"
    ),
    # What a manifest names is there.
    "a name in capitals": Fault(
        references.names, "no DNS label", EDGE, "metadata/name", "noetl-API"
    ),
    "two things of one name": Fault(
        references.names,
        "is there 2 times",
        "Deployment/noetl-catalog",
        "metadata/name",
        "noetl-api-gateway",
    ),
    "a mount without a volume": Fault(
        references.volumes, "which is no volume", EDGE, f"{MAIN}/volumeMounts/0/name", "temp"
    ),
    "a volume that nobody mounts": Fault(
        references.volumes,
        "nobody mounts",
        EDGE,
        f"{SPEC}/volumes/+",
        {"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}},
    ),
    "two volumes at one place": Fault(
        references.volumes,
        "2 volumes at /tmp",
        EDGE,
        f"{MAIN}/volumeMounts/+",
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (a path in the pod)
    ),
    "a probe of a port that is not there": Fault(
        references.ports,
        "readinessProbe asks port web",
        EDGE,
        f"{MAIN}/readinessProbe/httpGet/port",
        "web",
    ),
    "a service that leads to no port": Fault(
        references.ports, "leads to port web", SERVICE, "spec/ports/0/targetPort", "web"
    ),
    "an ingress to another service": Fault(
        references.ports,
        "which is not there",
        "Ingress/noetl",
        "spec/rules/0/http/paths/0/backend/service/name",
        "edge",
        "keda_off",
    ),
    "an ingress to another port": Fault(
        references.ports,
        "the Service doesn't have",
        "Ingress/noetl",
        "spec/rules/0/http/paths/0/backend/service/port",
        {"number": 80},
        "keda_off",
    ),
    "a secret that nobody makes": Fault(
        references.secrets,
        "of Secret noetl, not there",
        EDGE,
        f"{MAIN}/env/0/valueFrom/secretKeyRef/name",
        "noetl",
    ),
    "a file of a key that the secret lacks": Fault(
        references.secrets,
        "NATS_PASSWORD is password of Secret",
        EDGE,
        "spec/template/spec/volumes/1/projected/sources/0/secret/items/0",
        {"key": "password", "path": "NATS_PASSWORD"},
        "extra_pools",
    ),
    "a file that nobody mounts": Fault(
        references.secrets,
        "which is no Secret's file",
        EDGE,
        f"{MAIN}/volumeMounts/1/mountPath",
        "/run/secrets",
        "extra_pools",
    ),
    "a key that the secret lacks": Fault(
        references.secrets,
        "is password of Secret",
        EDGE,
        f"{MAIN}/env/0/valueFrom/secretKeyRef/key",
        "password",
    ),
    "a secret without one of its keys": Fault(
        references.secrets,
        "encryption-key of Secret noetl-catalog",
        "Secret/noetl-catalog",
        "stringData/encryption-key",
        GONE,
        "keda_off",
    ),
    "a scaler's token that nobody makes": Fault(
        references.secrets,
        "is not there",
        "TriggerAuthentication/noetl-internal-api",
        "spec/secretTargetRef/0/key",
        "token",
    ),
    "a folder that nobody makes": Fault(
        references.config_maps,
        "its ConfigMap documents is not there",
        "Job/noetl-register",
        f"{SPEC}/volumes/2/configMap/name",
        "documents",
        "extra_pools",
    ),
    "a script that is not in its folder": Fault(
        references.config_maps,
        "starts /documents/register.py",
        "ConfigMap/noetl-register",
        "data/register.py",
        GONE,
        "extra_pools",
    ),
    "an account that nobody makes": Fault(
        references.accounts,
        "its account noetl is not there",
        EDGE,
        f"{SPEC}/serviceAccountName",
        "noetl",
    ),
    "a mounted token": Fault(
        references.accounts,
        "token of its account",
        EDGE,
        f"{SPEC}/automountServiceAccountToken",
        True,
    ),
    "a role that gives everything": Fault(
        references.role_bindings,
        "gives everything",
        "Role/noetl-worker-boxes",
        "rules/0/verbs/+",
        "*",
        "extra_pools",
    ),
    "rights of nobody": Fault(
        references.role_bindings,
        "binds nobody, which no pod has",
        "RoleBinding/noetl-worker-boxes",
        "subjects/0/name",
        "nobody",
        "extra_pools",
    ),
    "scripts without a folder of their own": Fault(
        pods.places,
        "have no folder of their own at '/var/lib/noetl/scripts'",
        SHARED,
        f"{MAIN}/volumeMounts/1",
        {"name": "tmp", "mountPath": "/elsewhere"},
    ),
    "scripts that share their folder": Fault(
        pods.places,
        "are below /var/lib of NOETL_WORKER_DUCKDB_PATHS",
        SHARED,
        f"{MAIN}/env/+",
        _env("NOETL_WORKER_DUCKDB_PATHS", "/data,/var/lib"),
    ),
    "a selector of other pods": Fault(
        references.selectors,
        "doesn't match its own pods",
        EDGE,
        "spec/selector/matchLabels/app.kubernetes.io~component",
        "edge",
    ),
    "a selector of several deployments": Fault(
        references.selectors,
        "too",
        DECIDER,
        "spec/selector/matchLabels",
        {"app.kubernetes.io/name": "noetl"},
    ),
    "a service without pods": Fault(
        references.selectors,
        "selects nothing",
        SERVICE,
        "spec/selector/app.kubernetes.io~component",
        "edge",
    ),
    "a spread by other labels": Fault(
        references.selectors,
        "is spread by labels",
        EDGE,
        f"{SPEC}/topologySpreadConstraints/0/labelSelector/matchLabels",
        {"app": "noetl"},
    ),
    "a deployment with two budgets": Fault(
        references.budgets, "has 2 disruption budgets", "", "", _PODLESS
    ),
    "a budget of nothing": Fault(
        references.budgets,
        "keep a node from being drained",
        "PodDisruptionBudget/noetl-catalog",
        "spec/maxUnavailable",
        0,
    ),
    "a deployment without a policy": Fault(
        references.policies,
        "has no network policy",
        "NetworkPolicy/noetl-catalog",
        "spec/podSelector/matchLabels/app.kubernetes.io~component",
        "edge",
    ),
    "a policy that lets all out": Fault(
        references.policies,
        "lets everything out",
        "NetworkPolicy/noetl-catalog",
        "spec/egress",
        [{}],
    ),
    "a policy that lets all in": Fault(
        references.policies,
        "lets everybody in",
        "NetworkPolicy/noetl-catalog",
        "spec/ingress",
        [{"ports": [{"port": "http"}]}],
    ),
    "a policy of one direction": Fault(
        references.policies,
        "not about both directions",
        "NetworkPolicy/noetl-catalog",
        "spec/policyTypes",
        ["Ingress"],
    ),
    "a scaler of nothing": Fault(
        references.targets, "which is not there", POOL, "spec/scaleTargetRef/name", "noetl-worker"
    ),
    "a scaler without its login": Fault(
        references.targets, "logs in by", POOL, "spec/triggers/0/authenticationRef/name", "noetl"
    ),
    # How pods run.
    "an image that is none": Fault(pods.images, "no image", EDGE, f"{MAIN}/image", "noetl:"),
    "an image of today": Fault(
        pods.images, "another image each day", EDGE, f"{MAIN}/image", "noetl-api-gateway:latest"
    ),
    "an amount that is none": Fault(
        pods.sizes, "no amount of memory", EDGE, f"{MAIN}/resources/limits/memory", "1GB"
    ),
    "a request above its limit": Fault(
        pods.sizes, "above its limit", EDGE, f"{MAIN}/resources/requests/memory", "2Gi"
    ),
    "memory without a limit": Fault(
        pods.sizes, "its memory has no limit", EDGE, f"{MAIN}/resources/limits/memory", GONE
    ),
    "a folder without a limit": Fault(
        pods.sizes,
        "the folder tmp has no limit",
        EDGE,
        f"{SPEC}/volumes/0/emptyDir/sizeLimit",
        GONE,
    ),
    "a folder as large as the memory": Fault(
        pods.sizes,
        "may take all of its memory",
        EDGE,
        f"{SPEC}/volumes/0/emptyDir/sizeLimit",
        "1Gi",
    ),
    "root": Fault(
        pods.rights, "doesn't run as the user", EDGE, f"{SPEC}/securityContext/runAsUser", 0
    ),
    "an image that may be written to": Fault(
        pods.rights,
        "may write to its image",
        EDGE,
        f"{MAIN}/securityContext/readOnlyRootFilesystem",
        False,
    ),
    "more rights by and by": Fault(
        pods.rights,
        "more rights than it has",
        EDGE,
        f"{MAIN}/securityContext/allowPrivilegeEscalation",
        GONE,
    ),
    "capabilities": Fault(
        pods.rights,
        "has capabilities",
        EDGE,
        f"{MAIN}/securityContext/capabilities",
        {"drop": ["NET_RAW"]},
    ),
    "every system call": Fault(
        pods.rights, "every system call", EDGE, f"{SPEC}/securityContext/seccompProfile", GONE
    ),
    "no place for files": Fault(
        pods.rights, "no place for files", EDGE, f"{MAIN}/volumeMounts/0/mountPath", "/data"
    ),
    "service links": Fault(
        pods.rights, "among its variables", EDGE, f"{SPEC}/enableServiceLinks", GONE
    ),
    "the host's network": Fault(pods.rights, "has hostNetwork", EDGE, f"{SPEC}/hostNetwork", True),
    "readiness by liveness": Fault(
        pods.probes,
        "readinessProbe doesn't ask /readyz",
        EDGE,
        f"{MAIN}/readinessProbe/httpGet/path",
        "/healthz",
    ),
    "nobody asks whether it lives": Fault(
        pods.probes, "livenessProbe", EDGE, f"{MAIN}/livenessProbe", GONE
    ),
    "a pod that is killed before its process stops": Fault(
        pods.stops,
        "its process within 600 s",
        SHARED,
        f"{SPEC}/terminationGracePeriodSeconds",
        600,
    ),
    "a drain that the pod doesn't wait for": Fault(
        pods.stops, "its process within 30 s", EDGE, f"{SPEC}/terminationGracePeriodSeconds", 30
    ),
    "a pod that waits for nothing": Fault(
        pods.stops, "stops within 3600 s", EDGE, f"{SPEC}/terminationGracePeriodSeconds", 3600
    ),
    "a process that isn't told": Fault(pods.stops, "isn't told how long", EDGE, f"{MAIN}/env", []),
    "a rollout with a gap": Fault(
        pods.rollouts,
        "before another is ready",
        EDGE,
        "spec/strategy/rollingUpdate/maxUnavailable",
        1,
    ),
    "a migration after the upgrade": Fault(
        pods.hooks,
        "before each install and upgrade",
        "Job/noetl-migrate",
        "metadata/annotations/helm.sh~hook",
        "post-install",
    ),
    "a job in the way of the next": Fault(
        pods.hooks,
        "in the way of the next",
        "Job/noetl-migrate",
        "metadata/annotations/helm.sh~hook-delete-policy",
        "hook-failed",
    ),
    "a job without an end": Fault(
        pods.hooks, "may run for ever", "Job/noetl-migrate", "spec/activeDeadlineSeconds", GONE
    ),
    "a migration before its secret": Fault(
        pods.hooks,
        "before its Secret noetl-migrate",
        "Secret/noetl-migrate",
        "metadata/annotations/helm.sh~hook-weight",
        "0",
        "keda_off",
    ),
    # Autoscalers.
    "two scalers": Fault(scaling.scalers, "has 2 autoscalers", "", "", _SECOND),
    "a scaler and a number": Fault(
        scaling.scalers, "an autoscaler and a number", SHARED, "spec/replicas", 3
    ),
    "neither scaler nor number": Fault(
        scaling.scalers, "has no number of replicas", DECIDER, "spec/replicas", GONE, "shards_2"
    ),
    "an orchestrator scaled by a part of no request": Fault(
        scaling.processor_time, "request for cpu", DECIDER, f"{MAIN}/resources/requests/cpu", GONE
    ),
    "bounds the wrong way round": Fault(
        scaling.bounds, "from 21 to 20", POOL, "spec/minReplicaCount", 21
    ),
    "bounds of an HPA the wrong way round": Fault(
        scaling.bounds, "from 2 to 1", HPA, "spec/maxReplicas", 1
    ),
    "an HPA from none": Fault(scaling.bounds, "from 0 to 6", HPA, "spec/minReplicas", 0),
    "all processes taken away at once": Fault(
        scaling.bounds, "all at once", POOL, "spec/advanced", GONE
    ),
    "a part of no request": Fault(
        scaling.processor_time, "request for cpu", EDGE, f"{MAIN}/resources/requests/cpu", GONE
    ),
    "a key that KEDA drops": Fault(
        scaling.triggers, "KEDA has no minReplicas", POOL, "spec/minReplicas", 1
    ),
    "no trigger": Fault(scaling.triggers, "has no trigger", POOL, "spec/triggers", []),
    "two triggers of one name": Fault(
        scaling.triggers, "2 triggers are called lag", POOL, "spec/triggers/0/name", "lag"
    ),
    "a wrong type of trigger": Fault(
        scaling.triggers, "no trigger of type nats", POOL, "spec/triggers/1/type", "nats"
    ),
    "a trigger without a durable": Fault(
        scaling.triggers,
        "nats-jetstream lacks consumer",
        POOL,
        "spec/triggers/1/metadata/consumer",
        GONE,
    ),
    "a trigger with a wrong key": Fault(
        scaling.triggers,
        "nats-jetstream has no lagTreshold",
        POOL,
        "spec/triggers/1/metadata/lagTreshold",
        "5",
    ),
    "a number where KEDA wants a text": Fault(
        scaling.triggers, "lagThreshold is 16", POOL, "spec/triggers/1/metadata/lagThreshold", 16
    ),
    "a threshold of nothing": Fault(
        scaling.triggers, "has to be above 0", POOL, "spec/triggers/0/metadata/targetValue", "0"
    ),
    "one command that wakes nobody": Fault(
        scaling.triggers,
        "a single one would wait for ever",
        POOL,
        "spec/triggers/1/metadata/activationLagThreshold",
        "1",
    ),
    "a demand that wakes nobody": Fault(
        scaling.triggers,
        "a single one would wait for ever",
        POOL,
        "spec/triggers/0/metadata/activationTargetValue",
        "1",
    ),
    "a token that is not sent": Fault(
        scaling.triggers, "go together", POOL, "spec/triggers/0/metadata/authMode", GONE
    ),
    "a durable of another name": Fault(
        scaling.durables,
        "which it doesn't read",
        POOL,
        "spec/triggers/1/metadata/consumer",
        "noetl_worker_pool",
    ),
    "a stream of another name": Fault(
        scaling.durables,
        "NOETL_EVENTS/projector_0",
        "ScaledObject/noetl-projector-s0",
        "spec/triggers/0/metadata/stream",
        "NOETL_EVENTS",
    ),
    "no trigger by the lag": Fault(
        scaling.durables, "no trigger reads", POOL, "spec/triggers/1", GONE
    ),
    "a durable that is told wrongly": Fault(
        scaling.durables,
        "and says noetl_ingress/orchestrator_0",
        DECIDER,
        "metadata/annotations/noetl.io~durable",
        "orchestrator_0",
    ),
    "another pool's demand": Fault(
        scaling.durables,
        "demand of the pool gpu",
        POOL,
        "spec/triggers/0/metadata/url",
        "http://noetl.flow.svc:8082/api/internal/pools/gpu/demand",
    ),
    "another host's demand": Fault(
        scaling.durables,
        "which is no Service",
        POOL,
        "spec/triggers/0/metadata/url",
        "http://noetl.flow.svc:80/api/internal/pools/shared/demand",
    ),
    "another number of the answer": Fault(
        scaling.durables,
        "no number is at",
        POOL,
        "spec/triggers/0/metadata/valueLocation",
        "lag",
    ),
    "a number without what runs": Fault(
        scaling.durables,
        "leaves out what runs",
        POOL,
        "spec/triggers/0/metadata/valueLocation",
        "waiting",
    ),
    "another shard's rows": Fault(
        scaling.durables,
        "rows of shard 1",
        "ScaledObject/noetl-outbox-s0",
        "spec/triggers/0/metadata/valueLocation",
        'noetl_outbox_pending{shard="1",kind="command"}',
    ),
    "a gauge that is none": Fault(
        scaling.durables,
        "no gauge is",
        "ScaledObject/noetl-outbox-s0",
        "spec/triggers/0/metadata/valueLocation",
        "noetl_outbox_pending",
    ),
    "a target that is not the slots": Fault(
        scaling.slots, "a worker takes 16", POOL, "spec/triggers/0/metadata/targetValue", "10"
    ),
    # Variables.
    "a variable that nobody reads": Fault(
        variables.unread,
        "api-gateway reads no NOETL_EDGE",
        EDGE,
        f"{MAIN}/env/+",
        _env("NOETL_EDGE", "1"),
    ),
    "another service's variable": Fault(
        variables.unread,
        "outbox reads no NOETL_ENCRYPTION_KEY",
        OUTBOX,
        f"{MAIN}/env/+",
        _env("NOETL_ENCRYPTION_KEY", "x"),
    ),
    "a variable twice": Fault(
        variables.unread,
        "NATS_USER is set 2 times",
        EDGE,
        f"{MAIN}/env/+",
        _env("NATS_USER", "noetl"),
    ),
    "a variable that is a number": Fault(
        variables.unread,
        "NOETL_RPC_CONCURRENCY is 8",
        "Deployment/noetl-catalog",
        f"{MAIN}/env/+",
        _env("NOETL_RPC_CONCURRENCY", 8),
    ),
    "a reference to what comes later": Fault(
        variables.unread,
        "doesn't stand before it",
        DECIDER,
        f"{MAIN}/env/0/value",
        "$(NOETL_SHARDS)",
        "shards_2",
    ),
    "another user of the broker": Fault(
        variables.logins, "has to be worker-gpu", SHARED, f"{LABELS}/noetl.io~pool", "gpu"
    ),
    "another role of the database": Fault(
        variables.logins, "has to be noetl_outbox", OUTBOX, f"{MAIN}/env", []
    ),
    "a shard that nobody serves": Fault(
        variables.shards,
        "outbox: 0 Deployments serve shard 1",
        "Deployment/noetl-outbox-s1",
        f"{MAIN}/env",
        [],
        "shards_2",
    ),
    "a shard that another one serves": Fault(
        variables.shards,
        "by its labels another",
        "Deployment/noetl-outbox-s1",
        f"{LABELS}/noetl.io~shard",
        "0",
        "shards_2",
    ),
    "a shard map that is none": Fault(
        variables.shards,
        "NOETL_SHARDS",
        "Deployment/noetl-outbox-s1",
        f"{MAIN}/env",
        [_env("NOETL_SHARDS", "host=pg")],
        "shards_2",
    ),
    "another number of shards": Fault(
        variables.shards,
        "told of 3 shards",
        "Deployment/noetl-catalog",
        f"{MAIN}/env",
        [_env("NOETL_SHARD_COUNT", "3"), _env("NOETL_SHARDS", "host=a;user=u,host=b;user=u")],
        "shards_2",
    ),
    "a password in sight": Fault(
        variables.secrets_in_sight,
        "stands in the manifest",
        EDGE,
        f"{MAIN}/env/+",
        _env("NATS_PASSWORD", "secret"),
    ),
    "a login in an address": Fault(
        variables.secrets_in_sight,
        "holds a login",
        EDGE,
        f"{MAIN}/env/+",
        _env("NOETL_NATS_URL", "nats://noetl:secret@nats:4222"),
    ),
    "a password among the parts of an address": Fault(
        variables.secrets_in_sight,
        "holds a login",
        DECIDER,
        f"{MAIN}/env/+",
        _env("NOETL_CLUSTER_DSN", "host=pg;user=noetl;password=secret"),
        "shards_2",
    ),
}
