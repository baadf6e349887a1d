"""The chart for all sets of values, and each check of it with faults to find.

In one file, because one process runs the tests of a file, and renders once for all.
"""

import subprocess
import tomllib
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from check import CHECKS, find
from faults import FAULTS, Fault
from manifests import Manifests, name_of
from noetl.commands.logins import password_variable
from noetl_api_gateway.routes.internal.demand import pool_demand
from noetl_contract.access.keys import API_KEY
from noetl_contract.documents.broker_logins import Pool
from noetl_contract.documents.broker_users import broker_users
from noetl_engine.documents import lint_document
from rendering import CHART, ROOT, Helm, known_secrets, packed
from value_sets import VALUE_SETS

type Rendered = Callable[[str], Manifests]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(fault: Fault, rendered: Rendered) -> None:
    manifests = rendered(fault.values)

    assert list(fault.check(manifests)) == []
    found = list(fault.check(fault.planted(manifests)))
    assert any(fault.told in finding for finding in found), found


def test_each_check_has_a_fault() -> None:
    assert {fault.check for fault in FAULTS.values()} == set(CHECKS)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_s6_nothing_is_wrong(name: str, rendered: Rendered) -> None:
    assert list(find(rendered(name))) == []


def test_helm_has_nothing_to_say(helm: Helm) -> None:
    assert helm.lint(VALUE_SETS["defaults"]) == []


def test_every_default_is_known_to_a_release_whose_chart_had_none(rendered: Rendered) -> None:
    with packed("{}") as archive:
        assert Helm(archive).render({}).documents == rendered("defaults").documents


def test_each_service_runs_once_a_shard_and_each_pool_once(rendered: Rendered) -> None:
    assert rendered("shards_2").names("Deployment") == {
        *("noetl-api-gateway", "noetl-catalog", "noetl-worker-shared"),
        *(f"noetl-{name}-s{n}" for name in ("orchestrator", "outbox", "projector") for n in (0, 1)),
    }
    pools = {name for name in rendered("extra_pools").names("Deployment") if "-worker-" in name}
    assert pools == {
        f"noetl-worker-{pool}"
        for pool in ("shared", "system", "gpu-a100", "jobs", "boxes", "orders")
    }


def test_what_selects_a_deployment_s_pods_never_changes(rendered: Rendered) -> None:
    # Kubernetes refuses the upgrade of a Deployment with another selector.
    common = {"app.kubernetes.io/name": "noetl", "app.kubernetes.io/instance": "noetl"}
    own = {
        "noetl-api-gateway": {"app.kubernetes.io/component": "api-gateway"},
        "noetl-catalog": {"app.kubernetes.io/component": "catalog"},
        "noetl-worker-shared": {
            "app.kubernetes.io/component": "worker",
            "noetl.io/pool": "shared",
        },
        **{
            f"noetl-{service}-s0": {
                "app.kubernetes.io/component": service,
                "noetl.io/shard": "0",
            }
            for service in ("orchestrator", "outbox", "projector")
        },
    }
    selectors = {
        name_of(one): one["spec"]["selector"]["matchLabels"]
        for one in rendered("defaults").of("Deployment")
    }
    assert selectors == {name: common | labels for name, labels in own.items()}


def test_the_chart_has_the_version_of_what_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    server = tomllib.loads((ROOT / "cli" / "pyproject.toml").read_text())["project"]

    assert chart["version"] == chart["appVersion"] == server["version"]


@pytest.mark.parametrize(
    ("name", "by_keda", "by_cpu"),
    [
        (
            "defaults",
            {
                *("noetl-orchestrator-s0", "noetl-outbox-s0", "noetl-projector-s0"),
                "noetl-worker-shared",
            },
            {"noetl-api-gateway", "noetl-catalog"},
        ),
        (
            "keda_off",
            set(),
            {
                *("noetl-api-gateway", "noetl-catalog", "noetl-orchestrator-s0"),
                *("noetl-outbox-s0", "noetl-projector-s0", "noetl-worker-shared"),
            },
        ),
        ("shards_2", set(), set()),
        (
            "extra_pools",
            {
                *("noetl-orchestrator-s0", "noetl-outbox-s0", "noetl-projector-s0"),
                *("noetl-worker-shared", "noetl-worker-system", "noetl-worker-gpu-a100"),
            },
            {"noetl-api-gateway", "noetl-catalog"},
        ),
    ],
)
def test_who_is_scaled_by_what(
    name: str, by_keda: set[str], by_cpu: set[str], rendered: Rendered
) -> None:
    manifests = rendered(name)

    assert manifests.names("ScaledObject") == by_keda
    assert manifests.names("HorizontalPodAutoscaler") == by_cpu
    numbered = {name_of(one) for one in manifests.of("Deployment") if "replicas" in one["spec"]}
    assert numbered == manifests.names("Deployment") - by_keda - by_cpu


@pytest.mark.parametrize("writes", ["stream", "direct"])
def test_all_who_send_writes_are_told_one_way(writes: str, rendered: Rendered, helm: Helm) -> None:
    manifests = rendered("defaults") if writes == "stream" else helm.render({"writes": writes})

    told = {name_of(pod.owner): _variables(pod.containers[0]) for pod in manifests.pods()}
    senders = {name: one["NOETL_INGRESS"] for name, one in told.items() if "NOETL_INGRESS" in one}
    assert senders == dict.fromkeys(
        ("noetl-api-gateway", "noetl-catalog", "noetl-worker-shared"), writes
    )


def test_compose_sends_writes_as_the_chart_does(rendered: Rendered) -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    told = {
        name_of(pod.owner): _variables(pod.containers[0]) for pod in rendered("defaults").pods()
    }

    default = told["noetl-api-gateway"]["NOETL_INGRESS"]
    for name in ("api-gateway", "catalog", "worker"):
        assert services[name]["environment"]["NOETL_INGRESS"] == f"${{NOETL_INGRESS:-{default}}}"


def test_a_shard_s_database_and_the_direct_way_to_it(rendered: Rendered) -> None:
    manifests = rendered("shards_2")
    told = {name_of(pod.owner): _variables(pod.containers[0]) for pod in manifests.pods()}

    assert told["noetl-projector-s1"]["NOETL_SHARDS"] == (
        "host=pg-0;port=5432;user=noetl_projector;password=$(POSTGRES_PASSWORD);database=noetl_0,"
        "host=pg-1;port=6432;user=noetl_projector;password=$(POSTGRES_PASSWORD);database=noetl_1"
    )
    assert told["noetl-migrate"]["NOETL_SHARDS"] == (
        "host=pg-0-direct;port=5432;user=noetl;password=$(POSTGRES_PASSWORD);database=noetl_0,"
        "host=pg-1;port=5432;user=noetl;password=$(POSTGRES_PASSWORD);database=noetl_1"
    )


def test_no_variable_holds_a_secret_that_is_a_file(helm: Helm) -> None:
    values = {**VALUE_SETS["shards_2"], **VALUE_SETS["extra_pools"]}
    manifests = helm.render(values)
    told = {name_of(pod.owner): _variables(pod.containers[0]) for pod in manifests.pods()}
    held = {
        (name_of(pod.owner), one["name"])
        for pod in manifests.pods()
        for one in pod.containers[0]["env"]
        if "secretKeyRef" in one.get("valueFrom", {})
    }

    assert list(find(manifests)) == []
    assert held == {
        ("noetl-catalog", "NOETL_ACCESS_KEYS"),  # may be missing
        ("noetl-worker-gpu-a100", "AWS_SESSION_TOKEN"),  # of the operator's own `secretEnv`
    }
    assert told["noetl-projector-s1"]["NOETL_SHARDS"].startswith(
        "host=pg-0;port=5432;user=noetl_projector;"
        "password_file=/etc/noetl/secrets/POSTGRES_PASSWORD;database=noetl_0,"
    )


def test_people_and_workers_reach_the_edge_by_names_of_their_own(rendered: Rendered) -> None:
    told = {
        name_of(pod.owner): _variables(pod.containers[0]) for pod in rendered("keda_off").pods()
    }

    edge = told["noetl-api-gateway"]
    assert edge["NOETL_PUBLIC_SERVER_URL"] == "https://noetl.example.org"
    assert edge["NOETL_ALLOWED_HOSTS"] == "noetl.example.org,workers.example.org"
    workers = told["noetl-orchestrator-s0"]["NOETL_PUBLIC_SERVER_URL"]
    assert workers == "https://workers.example.org:8443"
    assert told["noetl-worker-shared"]["NOETL_SERVER_URL"] == workers


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"keda": {"enabled": "yes"}}, "got string, want boolean"),
        ({"sever": {}}, "additional properties 'sever' not allowed"),
        ({"worker": {"maxConcurent": 4}}, "additional properties 'maxConcurent' not allowed"),
        ({"pools": {"shared": {}}}, "'not' failed"),
        ({"pools": {"GPU": {}}}, "does not match pattern"),
        ({"pools": {"a": {"containers": {"namespace": "flow"}}}}, "is the release's own"),
        ({"nats": {"url": "nats://noetl:secret@nats:4222"}}, "does not match pattern"),
        ({"server": {"drainSeconds": 0}}, "minimum: got 0, want 5"),
        ({"postgres": {"adminUser": "REPLACE_ME"}}, "REPLACE_ME is still in: postgres.adminUser"),
        (
            {"secrets": {"values": {"migrate": {"postgres-password": "REPLACE_ME_TOO"}}}},
            "REPLACE_ME is still in: secrets.values.migrate.postgres-password",
        ),
        ({"secrets": {"create": True}}, "secrets.values.api-gateway.nats-password is missing"),
        ({"worker": {"env": {"NATS_USER": "noetl"}}}, "worker-shared: the chart sets NATS_USER"),
        (
            {"worker": {"autoscaling": {"minReplicas": 30}}},
            "worker-shared: minReplicas 30 is above maxReplicas 20",
        ),
        ({"workerPool": {"enabled": True}, "pools": {"system": {}}}, "is the pool of workerPool"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"workerPool": {"enabled": True, "poolName": "own"}}, "run on the pool system"),
        (
            {"keda": {"enabled": False}, "pools": {"gpu": {"autoscaling": {"minReplicas": 0}}}},
            "worker-gpu: minReplicas 0 needs KEDA",
        ),
        ({"pools": {"gpu-a": {}, "gpu_a": {}}}, "the pools gpu-a and gpu_a would both be"),
        ({"server": {"env": {"NOETL_TLS_CERT": "/tls/tls.crt"}}}, "with NOETL_TLS_CERT the probes"),
        (
            {"server": {"secretEnv": {"NOETL_TLS_KEY": {"secret": "tls", "key": "tls.key"}}}},
            "with NOETL_TLS_KEY the probes",
        ),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_by_name(values: dict[str, Any], told: str, helm: Helm) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        helm.render(values)
    assert told in str(refused.value)


@pytest.mark.parametrize("name", ["pools", "workerPool", "worker", "secrets"])
def test_null_means_the_default(name: str, rendered: Rendered, helm: Helm) -> None:
    assert helm.render({name: None}) == rendered("defaults")


def test_the_broker_is_open_to_keda_at_the_port_of_its_monitor(rendered: Rendered) -> None:
    (broker,) = (
        one for one in rendered("shards_2").of("NetworkPolicy") if name_of(one) == "noetl-nats"
    )

    _, monitor, _ = broker["spec"]["ingress"]
    assert monitor["ports"] == [{"port": 7222, "protocol": "TCP"}]


def test_a_default_is_left_out_with_an_empty_text_and_turned_off_with_false(helm: Helm) -> None:
    off = {
        "autoscaling": {"enabled": False},
        "server": {"resources": {"requests": {"cpu": ""}}},
        "networkPolicy": {"enabled": False},
    }
    manifests = helm.render({"catalog": {"autoscaling": off["autoscaling"]}, **off})

    edge = next(pod for pod in manifests.pods() if pod.place == "Deployment/noetl-api-gateway")
    assert edge.containers[0]["resources"]["requests"] == {"memory": "256Mi"}
    assert manifests.names("NetworkPolicy") == set()
    assert manifests.names("HorizontalPodAutoscaler") == set()


def test_s6_the_secrets_that_are_printed_are_those_that_the_chart_wants() -> None:
    pools = ("shared", "system", "gpu_a100", "jobs", "boxes", "orders")
    printed = _printed(*pools, owner="owner")

    of_the_broker = printed.pop("noetl-nats")
    users = broker_users([Pool(pool) for pool in pools])
    assert set(of_the_broker) == {password_variable(user.name) for user in users}
    wanted = known_secrets(VALUE_SETS["extra_pools"])
    assert {name: wanted[name] for name in printed} == {
        name: set(keys) for name, keys in printed.items()
    }
    assert set(wanted) - set(printed) == {"lake"}
    for name, keys in printed.items():
        if "nats-password" in keys:
            variable = password_variable(
                name.removeprefix("noetl-").replace("gpu-a100", "gpu_a100")
            )
            assert keys["nats-password"] == of_the_broker[variable]


def _printed(*pools: str, owner: str) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [ROOT / "tools" / "chart_secrets", *pools],
        env={"POSTGRES_PASSWORD": owner, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name_of(one): one["stringData"] for one in yaml.safe_load_all(done.stdout)}


def test_the_owner_s_password_is_printed_as_it_is_and_all_others_are_new() -> None:
    owner = r"""a\tb"c'd$(e)`f`%s\\"""
    printed = _printed("shared", "gpu_a100", owner=owner)

    assert printed["noetl-migrate"] == {"postgres-password": owner}
    assert API_KEY.fullmatch(printed["noetl-catalog"]["access-keys"].removeprefix("admin="))
    assert len(b64decode(printed["noetl-catalog"]["encryption-key"], validate=True)) == 32
    # Each stands once for its service, and once for the broker if it is one of its users.
    values = [value for keys in printed.values() for value in keys.values()]
    assert len({*values}) == len(values) - len(printed["noetl-nats"]) + 1


def test_the_chart_has_no_file_that_is_not_packed() -> None:
    with packed() as archive:
        assert archive.stat().st_size < 100_000
    assert not [path for path in CHART.rglob("*") if path.suffix == ".tgz"]


def _variables(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container["env"]}


def test_the_schedule_of_the_system_pool_is_one_that_the_catalog_takes(rendered: Rendered) -> None:
    (documents,) = (one["data"] for one in rendered("extra_pools").of("ConfigMap"))
    playbook = (ROOT / "playbooks" / "system" / "scheduled_cleanup.yaml").read_text()

    assert documents["1-system.scheduled_cleanup.yaml"].strip() == playbook.strip()
    assert lint_document(documents["2-system.scheduled_cleanup_times.yaml"]) == []
    spec = yaml.safe_load(documents["2-system.scheduled_cleanup_times.yaml"])["spec"]
    assert set(spec["payload"]) <= set(yaml.safe_load(playbook)["workload"])


def test_s6_the_edge_tells_the_demand_where_the_chart_asks_for_it() -> None:
    assert pool_demand.paths == {"/api/internal/pools/{pool:str}/demand"}


def test_only_the_edge_reaches_the_existing_server(rendered: Rendered) -> None:
    rule = {
        "ports": [{"port": 8082, "protocol": "TCP"}],
        "to": [{"namespaceSelector": {"matchLabels": {"name": "old"}}}],
    }
    policies = rendered("extra_pools").of("NetworkPolicy")
    reaching = {name_of(one) for one in policies if rule in (one["spec"].get("egress") or [])}
    assert reaching == {"noetl-api-gateway"}
