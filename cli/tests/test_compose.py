"""`compose.yaml`: each service has its own logins, and the worker none that it does not need."""

import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from noetl.commands.logins import password_variable
from noetl.main import app
from noetl.stack.servers.roles import ROLES
from noetl_bus.settings import EventRelaySettings
from noetl_contract.access.keys import API_KEY
from noetl_contract.documents.broker_logins import worker_user
from noetl_contract.json import JsonObject
from typer.testing import CliRunner

TOP = Path(__file__).parents[2]
TELEMETRY = ("collector", "jaeger", "prometheus", "grafana")
SERVICES = ("api-gateway", "orchestrator", "outbox", "projector", "catalog", "worker")


@pytest.fixture(scope="module")
def services() -> dict[str, JsonObject]:
    read: dict[str, JsonObject] = yaml.safe_load((TOP / "compose.yaml").read_text())["services"]
    return read


def test_the_brokers_users_are_those_of_the_code() -> None:
    printed = CliRunner().invoke(app, ["nats-users", "--pools", "shared"]).output

    assert (TOP / "deploy" / "nats-users.conf").read_text() == printed


def test_orchestrator_and_outbox_are_told_the_same_of_events(
    services: dict[str, JsonObject],
) -> None:
    names = {f"NOETL_{name.upper()}" for name in EventRelaySettings.model_fields}
    told = [
        {name: services[service]["environment"].get(name) for name in names}
        for service in ("orchestrator", "outbox")
    ]

    assert told[0] == told[1]
    assert None not in told[0].values()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_logins_of_its_own(services: dict[str, JsonObject], name: str) -> None:
    environment = services[name]["environment"]
    user = worker_user("shared") if name == "worker" else name

    assert environment["NATS_USER"] == user
    assert environment["NATS_PASSWORD"].startswith(f"${{{password_variable(user)}:")
    assert environment.get("POSTGRES_USER") == ROLES.get(name)
    if name in ROLES:
        assert f"POSTGRES_{name.upper()}_PASSWORD" in environment["POSTGRES_PASSWORD"]
    assert ("NOETL_ENCRYPTION_KEY" in environment) == (name == "catalog")
    assert ("NOETL_COMMAND_KEY" in environment) == (name in {"api-gateway", "orchestrator"})


@pytest.mark.parametrize("name", [*SERVICES, "nats", "postgres", "migrate", *TELEMETRY])
def test_a_container_may_do_little(services: dict[str, JsonObject], name: str) -> None:
    service = services[name]

    assert service["cap_drop"] == ["ALL"]
    assert ("cap_add" in service) == (name == "postgres")
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_the_worker_knows_nothing_of_the_database(services: dict[str, JsonObject]) -> None:
    environment = services["worker"]["environment"]

    assert not [name for name in environment if "POSTGRES" in name or "KEY" in name]
    assert "networks" not in services["worker"]
    assert services["postgres"]["networks"] == ["database"]


def test_only_the_edge_has_a_port_and_only_on_this_machine(
    services: dict[str, JsonObject],
) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert ports == {
        "api-gateway": ["${NOETL_BIND:-127.0.0.1}:${NOETL_PORT:-8082}:8082"],
        "grafana": ["127.0.0.1:${NOETL_GRAFANA_PORT:-3000}:3000"],
    }


def test_telemetry_is_there_on_demand_and_leads_where_it_is_said(
    services: dict[str, JsonObject],
) -> None:
    """The parts of the profile name each other, and what they mount is in the repository."""
    assert {name for name, one in services.items() if one.get("profiles")} == set(TELEMETRY)
    assert all(services[name]["profiles"] == ["telemetry"] for name in TELEMETRY)
    for name in TELEMETRY:
        mounted = [one.split(":")[0] for one in services[name].get("volumes", ())]
        assert all((TOP / one).is_file() for one in mounted if one.startswith("./")), mounted
    collector = _telemetry("collector.yaml")
    for pipeline in collector["service"]["pipelines"].values():
        for part, wanted in pipeline.items():
            assert set(wanted) <= set(collector[part])
    sources = _telemetry("grafana/datasources.yaml")["datasources"]
    urls = [
        collector["exporters"]["otlphttp"]["endpoint"],
        *(source["url"] for source in sources),
    ]
    assert {re.split(r"[:/]+", url)[1] for url in urls} <= set(TELEMETRY)
    scraped = {
        job["dns_sd_configs"][0]["names"][0]
        for job in _telemetry("prometheus.yaml")["scrape_configs"]
    }
    assert scraped == set(SERVICES)


def test_every_service_is_told_where_spans_go(services: dict[str, JsonObject]) -> None:
    for name in SERVICES:
        endpoint = services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert endpoint == "${OTEL_EXPORTER_OTLP_ENDPOINT:-}"


def _telemetry(name: str) -> JsonObject:
    read: JsonObject = yaml.safe_load((TOP / "deploy" / "telemetry" / name).read_text())
    return read


def test_nobody_but_the_server_has_the_superuser(services: dict[str, JsonObject]) -> None:
    wanting = {
        name
        for name, service in services.items()
        if "POSTGRES_SUPERUSER_PASSWORD" in str(service.get("environment"))
    }
    script = TOP / "deploy" / "postgres-init.sh"

    assert wanting == {"postgres"}
    assert services["postgres"]["environment"]["POSTGRES_USER"] == "postgres"
    assert services["migrate"]["environment"]["POSTGRES_USER"] == "noetl"
    assert "CREATE ROLE noetl LOGIN CREATEROLE CREATEDB PASSWORD" in script.read_text()
    assert script.stat().st_mode & 0o111  # else the image reads it into its own shell


def test_servers_are_those_of_the_tests(services: dict[str, JsonObject]) -> None:
    for name, parts in (("nats", 2), ("postgres", 1)):
        tested = ".".join(metadata.version(f"embedded-{name}").split(".")[:parts])
        variable = f"NOETL_{name.upper()}_IMAGE"
        assert services[name]["image"] == f"${{{variable}:-{name}:{tested}-alpine}}"


def test_every_image_of_ours_has_the_name_of_its_service(services: dict[str, JsonObject]) -> None:
    built = {name: service for name, service in services.items() if "build" in service}

    assert set(built) == {*SERVICES, "migrate"}
    for name, service in built.items():
        image = "server" if name == "migrate" else name
        assert service["build"]["args"]["SERVICE"] == image
        assert service["image"] == f"${{NOETL_IMAGES:-noetl}}-{image}:${{NOETL_VERSION:-dev}}"
        # The image's own check; who migrates answers nobody.
        assert service.get("healthcheck") == ({"disable": True} if name == "migrate" else None)


def test_a_migration_that_fails_ends(services: dict[str, JsonObject]) -> None:
    assert services["migrate"]["restart"] == "on-failure:5"


def test_a_worker_has_the_time_that_its_container_has(services: dict[str, JsonObject]) -> None:
    worker = services["worker"]
    seconds = "${NOETL_WORKER_GRACE_SECONDS:-600}"

    assert worker["environment"]["NOETL_SHUTDOWN_GRACE_SECONDS"] == seconds
    assert worker["stop_grace_period"] == f"{seconds}s"


def test_the_broker_is_as_bounded_as_that_of_the_local_stack() -> None:
    text = (TOP / "deploy" / "nats.conf").read_text()

    for line in ("max_pending: 64MB", "max_payload: 8MB", "max_file_store:", 'http: "127.0.0.1:'):
        assert line in text


@pytest.fixture
def secrets() -> dict[str, str]:
    return read_secrets(_made("-"))


def read_secrets(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in text.splitlines())}


def _made(file: str) -> str:
    return subprocess.run(
        [TOP / "tools" / "compose_secrets", file], capture_output=True, text=True, check=True
    ).stdout


def test_secrets_that_are_there_stay(tmp_path: Path, secrets: dict[str, str]) -> None:
    file = tmp_path / ".env"
    file.write_text("NOETL_PORT=9000\nNATS_STORE_KEY=\nNOETL_ENCRYPTION_KEY=kept")

    _made(str(file))
    first = file.read_text()
    _made(str(file))

    assert file.read_text() == first
    found = read_secrets(first)
    assert found["NOETL_ENCRYPTION_KEY"] == "kept"
    assert found["NATS_STORE_KEY"]
    assert set(found) == {*secrets, "NOETL_PORT"}
    assert len({*found.values()}) == len(found)


def test_a_new_file_of_secrets_is_its_owners(tmp_path: Path) -> None:
    _made(str(tmp_path / ".env"))

    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_somebody_can_log_in(services: dict[str, JsonObject], secrets: dict[str, str]) -> None:
    assert services["api-gateway"]["environment"]["NOETL_AUTH"] == "on"
    assert services["catalog"]["environment"]["NOETL_ACCESS_KEYS"] == "admin=${NOETL_ADMIN_KEY:?}"
    assert API_KEY.fullmatch(secrets["NOETL_ADMIN_KEY"])


def test_every_secret_is_made_by_the_tool(secrets: dict[str, str]) -> None:
    text = (TOP / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))

    assert wanted == set(secrets)
