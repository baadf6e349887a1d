"""Names in manifests lead somewhere: volumes, ports, Secrets, accounts, labels, targets."""

import re
from collections import Counter
from collections.abc import Iterator

from manifests import Document, Manifests, Pod, name_of, place_of, scaler_targets
from mounts import secret_files

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# Kinds whose names become a host's or a label's.
_LABELLED = frozenset({"Service", "Deployment", "Job"})
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def names(manifests: Manifests) -> Iterator[str]:
    """Find names that Kubernetes refuses, and two things of one kind and name."""
    for one in manifests.documents:
        pattern = _LABEL if one["kind"] in _LABELLED else _SUBDOMAIN
        if not pattern.fullmatch(name_of(one)):
            yield f"{place_of(one)}: its name is no DNS label"
    for place, count in Counter(map(place_of, manifests.documents)).items():
        if count > 1:
            yield f"{place}: is there {count} times"


def volumes(manifests: Manifests) -> Iterator[str]:
    """Find mounts without a volume, volumes without a mount, and two mounts at one place."""
    for pod in manifests.pods():
        there = {one["name"] for one in pod.spec.get("volumes", [])}
        used: set[str] = set()
        for container in pod.containers:
            mounts = container.get("volumeMounts") or []
            for mount in mounts:
                used.add(mount["name"])
                if mount["name"] not in there:
                    yield f"{pod.place}: mounts {mount['name']}, which is no volume of it"
            for path, count in Counter(mount["mountPath"] for mount in mounts).items():
                if count > 1:
                    yield f"{pod.place}: mounts {count} volumes at {path}"
        for name in sorted(there - used):
            yield f"{pod.place}: nobody mounts the volume {name}"


def ports(manifests: Manifests) -> Iterator[str]:
    """Find probes, Services and Ingresses with a port that isn't there."""
    for pod in manifests.pods():
        for container in pod.containers:
            yield from (f"{pod.place}: {what}" for what in _probed(container))
    services = {name_of(one): one for one in manifests.of("Service")}
    for service in services.values():
        pods = list(_selected(manifests, service["spec"].get("selector", {})))
        there = {port for pod in pods for one in pod.containers for port in _ports(one)}
        asked = {port["targetPort"] for port in service["spec"]["ports"]} if pods else set()
        for port in sorted(asked - there, key=str):
            yield f"{place_of(service)}: leads to port {port}, which no pod has"
    for ingress in manifests.of("Ingress"):
        paths = (path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"])
        for path in paths:
            yield from _backend(ingress, path["backend"]["service"], services)


def _probed(container: Document) -> Iterator[str]:
    for probe in _PROBES:
        action = container.get(probe, {}).get("httpGet", {})
        if action and action.get("port") not in _ports(container):
            yield f"{probe} asks port {action.get('port')}, which is not there"


def _backend(ingress: Document, backend: Document, services: dict[str, Document]) -> Iterator[str]:
    service = services.get(backend["name"])
    if service is None:
        yield f"{place_of(ingress)}: leads to the Service {backend['name']}, which is not there"
        return
    there = {key for port in service["spec"]["ports"] for key in (port["name"], port["port"])}
    asked = backend["port"].get("name") or backend["port"].get("number")
    if asked not in there:
        yield f"{place_of(ingress)}: leads to port {asked}, which the Service doesn't have"


def _ports(container: Document) -> set[object]:
    return {
        key
        for port in container.get("ports", [])
        for key in (port.get("name"), port["containerPort"])
    }


def secrets(manifests: Manifests) -> Iterator[str]:
    """Find Secrets and keys that neither the chart makes nor the operator did."""
    there = dict(manifests.outside)
    for one in manifests.of("Secret"):
        there[name_of(one)] = {*one.get("stringData", {}), *one.get("data", {})}
    for pod in manifests.pods():
        for container in pod.containers:
            for variable in container.get("env", []):
                asked = variable.get("valueFrom", {}).get("secretKeyRef")
                if asked and asked["key"] not in there.get(asked["name"], set()):
                    source = f"{asked['key']} of Secret {asked['name']}"
                    yield f"{pod.place}: {variable['name']} is {source}, not there"
        yield from _files(pod, there)
    for one in manifests.of("TriggerAuthentication"):
        for asked in one["spec"].get("secretTargetRef", []):
            if asked["key"] not in there.get(asked["name"], set()):
                yield f"{place_of(one)}: {asked['key']} of Secret {asked['name']} is not there"


def _files(pod: Pod, there: dict[str, set[str]]) -> Iterator[str]:
    files = secret_files(pod)
    for place, file in files.items():
        if file.key not in there.get(file.secret, set()):
            yield f"{pod.place}: {place} is {file.key} of Secret {file.secret}, not there"
    for container in pod.containers:
        for variable in container.get("env", []):
            path = str(variable.get("value", ""))
            if variable["name"].endswith("_FILE") and path not in files:
                yield f"{pod.place}: {variable['name']} names {path}, which is no Secret's file"


def config_maps(manifests: Manifests) -> Iterator[str]:
    """Find folders of a ConfigMap that the chart doesn't make, and files that it doesn't have."""
    there = {name_of(one): set(one.get("data", {})) for one in manifests.of("ConfigMap")}
    for pod in manifests.pods():
        folders: dict[str, set[str]] = {}
        for volume in pod.spec.get("volumes", []):
            name = volume.get("configMap", {}).get("name")
            if name is not None:
                folders[volume["name"]] = there.get(name, set())
                if name not in there:
                    yield f"{pod.place}: its ConfigMap {name} is not there"
        for container in pod.containers:
            for mount in container.get("volumeMounts") or []:
                for word in container.get("command", []) if mount["name"] in folders else ():
                    file = word.removeprefix(f"{mount['mountPath']}/")
                    if file != word and file not in folders[mount["name"]]:
                        yield f"{pod.place}: starts {word}, which is not there"


def accounts(manifests: Manifests) -> Iterator[str]:
    """Find pods whose account the chart doesn't make, or whose token is mounted without need."""
    there = manifests.names("ServiceAccount")
    bound = {subject["name"] for one in manifests.of("RoleBinding") for subject in one["subjects"]}
    for pod in manifests.pods():
        name = pod.spec.get("serviceAccountName")
        is_mounted = pod.spec.get("automountServiceAccountToken")
        if name and name not in there and not is_mounted:
            yield f"{pod.place}: its account {name} is not there"
        if is_mounted is not False and (not name or name in there - bound):
            yield f"{pod.place}: the token of its account is mounted"


def role_bindings(manifests: Manifests) -> Iterator[str]:
    """Find rights of roles that are not bound, or that are given where Secrets of ours are."""
    given = {one["roleRef"]["name"] for one in manifests.of("RoleBinding")}
    users = {pod.spec.get("serviceAccountName") for pod in manifests.pods()}
    for one in manifests.of("Role"):
        if name_of(one) not in given:
            yield f"{place_of(one)}: is bound to nobody"
        for rule in one["rules"]:
            if "*" in [*rule["resources"], *rule["verbs"], *rule["apiGroups"]]:
                yield f"{place_of(one)}: gives everything"
        if "namespace" not in one["metadata"]:
            yield f"{place_of(one)}: is about the namespace of the release"
    for one in manifests.of("RoleBinding"):
        for subject in one["subjects"]:
            if subject["name"] not in users:
                yield f"{place_of(one)}: binds {subject['name']}, which no pod has"


def selectors(manifests: Manifests) -> Iterator[str]:
    """Find selectors that select nothing, or their own pods not."""
    for one in manifests.of("Deployment"):
        wanted = one["spec"]["selector"]["matchLabels"]
        labels = one["spec"]["template"]["metadata"]["labels"]
        if not wanted.items() <= labels.items():
            yield f"{place_of(one)}: its selector doesn't match its own pods"
        for other in manifests.of("Deployment"):
            if other is not one and wanted.items() <= _labels(other).items():
                yield f"{place_of(one)}: its selector matches the pods of {place_of(other)} too"
    for one in manifests.of("Service", "PodDisruptionBudget", "NetworkPolicy"):
        wanted = _wanted(one)
        if _is_ours(wanted) and not list(_selected(manifests, wanted)):
            yield f"{place_of(one)}: selects nothing"
    for pod in manifests.pods():
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not spread["labelSelector"]["matchLabels"].items() <= pod.labels.items():
                yield f"{pod.place}: is spread by labels that it doesn't have"


def budgets(manifests: Manifests) -> Iterator[str]:
    """Find Deployments without a disruption budget, and budgets that let no node be drained."""
    budgeted = [
        one["spec"]["selector"]["matchLabels"] for one in manifests.of("PodDisruptionBudget")
    ]
    for one in manifests.of("Deployment"):
        count = sum(wanted.items() <= _labels(one).items() for wanted in budgeted)
        if count != 1:
            yield f"{place_of(one)}: has {count} disruption budgets"
    for one in manifests.of("PodDisruptionBudget"):
        if one["spec"].get("maxUnavailable") in (0, "0%") or "minAvailable" in one["spec"]:
            yield f"{place_of(one)}: may keep a node from being drained"


def policies(manifests: Manifests) -> Iterator[str]:
    """Find Deployments that some policies leave out, and rules that let all traffic in or out."""
    policed = [(one, _wanted(one)) for one in manifests.of("NetworkPolicy")]
    for one in manifests.of("Deployment"):
        if policed and not any(wanted.items() <= _labels(one).items() for _, wanted in policed):
            yield f"{place_of(one)}: has no network policy"
    for policy, wanted in policed:
        service = wanted.get("app.kubernetes.io/component", "")
        for rule in policy["spec"].get("egress") or []:
            if not rule and service != "worker":
                yield f"{place_of(policy)}: lets everything out"
        for rule in policy["spec"].get("ingress") or []:
            is_open = not rule.get("from")
            if is_open and service != "api-gateway":
                yield f"{place_of(policy)}: lets everybody in"
        if _is_ours(wanted) and set(policy["spec"].get("policyTypes", [])) != {"Ingress", "Egress"}:
            yield f"{place_of(policy)}: is not about both directions"


def targets(manifests: Manifests) -> Iterator[str]:
    """Find autoscalers whose Deployment, or whose login, is not there."""
    there = manifests.names("Deployment")
    logins = manifests.names("TriggerAuthentication")
    for scaler, target in scaler_targets(manifests):
        if target not in there:
            yield f"{place_of(scaler)}: scales {target}, which is not there"
        for trigger in scaler["spec"].get("triggers", []):
            login = trigger.get("authenticationRef", {}).get("name")
            if login and login not in logins:
                yield f"{place_of(scaler)}: logs in by {login}, which is not there"


def _wanted(document: Document) -> dict[str, str]:
    spec = document["spec"]
    match document["kind"]:
        case "Service":
            found = spec.get("selector", {})
        case "NetworkPolicy":
            found = spec["podSelector"].get("matchLabels", {})
        case _:
            found = spec["selector"].get("matchLabels", {})
    return dict(found)


def _is_ours(labels: dict[str, str]) -> bool:
    return labels.get("app.kubernetes.io/name") == "noetl"


def _labels(deployment: Document) -> dict[str, str]:
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def _selected(manifests: Manifests, wanted: dict[str, str]) -> Iterator[Pod]:
    return (pod for pod in manifests.pods() if wanted.items() <= pod.labels.items())
