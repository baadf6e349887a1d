"""Requests of a step about its container, and the errors that name refused ones."""

from dataclasses import replace
from typing import Any

import pytest
from noetl_worker.settings import Settings
from noetl_worker.tools.containers.allowed import Allowed
from noetl_worker.tools.containers.engine.body import Ceilings, create_body
from noetl_worker.tools.containers.plan import Origin, Plan, container_name
from noetl_worker.tools.containers.quantities import quantity
from noetl_worker.tools.containers.reading import read_plan
from noetl_worker.tools.tool import ToolError

ORIGIN = Origin(
    execution_id=384807491935944704,
    event_id=384807491935944999,
    command_id="384807491935944704:Train_it:384807491935944999",
    step="Train_it",
    callback="http://1.2:3.mac@edge",
    pool="shared",
    worker="w",
)


def plan_of(raw: dict[str, Any] | None = None, timeout: int | None = None, **config: Any) -> Plan:
    settings = Settings(
        container_volumes="data-*",
        container_images="proof:*,registry.example.org/team/*",
        container_gpu_max=1,
        container_service_accounts="runner",
        container_secrets="of-playbooks-*",
    )
    config = {"image": "proof:1", **config}
    return read_plan(config, raw or config, ORIGIN, Allowed(settings), timeout=timeout)


def test_a_name_is_made_from_the_command_alone_and_fits_a_pod() -> None:
    name = container_name("Train it, please!", (1 << 63) - 1, (1 << 63) - 1)

    assert name == "noetl-container-trainitpleas-9223372036854775807-1y2p0ij32e8e7"
    assert len(name) <= 63
    assert container_name("äöü", 1, 2) == "noetl-container-step-1-2"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"image": " "}, "container: image is required"),
        ({"image": "evil:1"}, "image 'evil:1' is not allowed by NOETL_CONTAINER_IMAGES"),
        ({"namespace": "kube-system"}, "namespace 'kube-system' is not in NOETL_CONTAINER_NAMES"),
        ({"volumes": [{"path": "/d", "source": "/etc"}]}, "paths of the host can't be mounted"),
        ({"volumes": [{"path": "/d", "source": "other"}]}, "not allowed by NOETL_CONTAINER_VOLU"),
        ({"volumes": [{"path": "/a/../b"}]}, "has to be absolute, without '..'"),
        ({"volumes": ["data-1:/d"]}, "`volumes` has to be a list of mappings"),
        ({"service_account": "admin"}, "service account 'admin' is not allowed"),
        ({"gpu": 2}, "gpu 2 is more than NOETL_CONTAINER_GPU_MAX, 1"),
        (
            {"resources": {"limits": {"memory": "1Ti"}}},
            "memory 1Ti is more than NOETL_CONTAINER_ME",
        ),
        ({"resources": {"limits": {"cpu": "much"}}}, "cpu: 'much' is no amount like 500m"),
        ({"resources": {"limits": {"../x": 1}}}, "resource '../x' is no name of a resource"),
        ({"timeout_seconds": 10**6}, "timeout_seconds 1000000 is more than NOETL_CONTAINER_SECO"),
        ({"env": [{"name": "A=B", "value": 1}]}, "env var 'A=B' is no name of a variable"),
        (
            {"env": [{"name": "A", "value_from": {"secret_name": "db", "secret_key": "k"}}]},
            "secret 'db' is not allowed by NOETL_CONTAINER_SECRETS",
        ),
        (
            {"env": [{"name": "A", "value": 1, "value_from": {}}]},
            "container: env var 'A': value and value_from are mutually exclusive",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_by_its_name(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ToolError) as refusal:
        plan_of(**config)

    assert text in str(refusal.value)


def test_without_wishes_a_container_has_the_limits_of_the_worker() -> None:
    plan = plan_of()

    assert {name: quantity(value) for name, value in plan.limits.items()} == {
        "cpu": 2,
        "memory": 2 << 30,
    }
    assert (plan.timeout_seconds, plan.ttl_seconds, plan.backoff_limit) == (21_600, 300, 0)
    assert plan_of(timeout=60).timeout_seconds == 60
    assert plan.requests == {"cpu": "100m", "memory": "64Mi"}


def test_what_a_playbook_limits_or_reserves_is_its_own_to_say() -> None:
    resources = {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1"}}

    assert plan_of(resources=resources).requests == {"cpu": "1"}


def test_what_rendering_has_made_of_texts_is_text_again() -> None:
    plan = plan_of(command=["sleep", 5], args=[None, True, "x"])

    assert (plan.command, plan.args) == (("sleep", "5"), ("", "true", "x"))
    assert plan_of(args={"number": 1}).args == ()
    with pytest.raises(ToolError, match="`command` has to be a list of texts"):
        plan_of(command="sleep 5")


def test_values_of_the_keychain_and_those_that_are_named_like_secrets_are_hidden() -> None:
    listed = [
        {"name": "PLAIN", "value": "{{ workload.a }}"},
        {"name": "DSN", "value": "{{ keychain.db.dsn }}"},
        {"name": "API_TOKEN", "value": "abc"},
    ]
    rendered = [{"name": one["name"], "value": 5} for one in listed]

    plan = plan_of({"env": listed}, env=rendered)

    assert plan.env == {"PLAIN": "5", "DSN": "5", "API_TOKEN": "5"}
    assert plan.hidden == ("DSN", "API_TOKEN")
    assert "env" not in repr(plan).replace("env_refs", "")


def test_an_engine_s_container_has_no_privileges_whatever_the_playbook_says() -> None:
    config = {
        "command": ["/bin/run"],
        "privileged": True,
        "hostNetwork": True,
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "gpu": 1,
        "volumes": [{"path": "/scratch"}, {"path": "/d", "source": "data-1", "read_only": True}],
    }
    body = create_body(plan_of(**config), Ceilings(network="bridge", pids=7, user="1000"))

    host = body["HostConfig"]
    assert (host["Privileged"], host["CapDrop"], host["NetworkMode"]) == (False, ["ALL"], "bridge")
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 << 20, 64 << 20, 5 * 10**8)
    assert host["DeviceRequests"] == [{"Count": 1, "Capabilities": [["gpu"]]}]
    assert [one["Type"] for one in host["Mounts"]] == ["tmpfs", "volume"]
    assert not {"Binds", "Devices", "PidMode", "CapAdd"} & host.keys()
    assert body["StopTimeout"] == 0
    assert (body["Entrypoint"], body["Cmd"], body["User"]) == (["/bin/run"], [], "1000")


def test_labels_are_labels_whatever_the_step_is_called() -> None:
    origin = replace(ORIGIN, step="-ä/" + "x" * 100)

    label = replace(plan_of(), origin=origin).labels()["noetl.step-name"]

    assert label == "x" * 60
