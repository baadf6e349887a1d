"""`compose.yaml`: each service has its own logins, and the worker none that it does not need."""

import subprocess
from pathlib import Path

import pytest
import yaml
from noetl.commands.logins import password_variable
from noetl.main import app
from noetl.stack.servers.roles import ROLES
from noetl_contract.access.keys import API_KEY
from noetl_contract.documents.broker_users import worker_user
from noetl_contract.json import JsonObject
from typer.testing import CliRunner

TOP = Path(__file__).parents[2]
SERVICES = ("api-gateway", "orchestrator", "outbox", "projector", "catalog", "worker")


@pytest.fixture(scope="module")
def services() -> dict[str, JsonObject]:
    read: dict[str, JsonObject] = yaml.safe_load((TOP / "compose.yaml").read_text())["services"]
    return read


def test_the_brokers_users_are_those_of_the_code() -> None:
    printed = CliRunner().invoke(app, ["nats-users", "--pools", "shared"]).output

    assert (TOP / "deploy" / "nats-users.conf").read_text() == printed


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


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_little(services: dict[str, JsonObject], name: str) -> None:
    service = services[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]


def test_the_worker_knows_nothing_of_the_database(services: dict[str, JsonObject]) -> None:
    environment = services["worker"]["environment"]

    assert not [name for name in environment if "POSTGRES" in name or "KEY" in name]
    assert services["api-gateway"]["ports"] == ["${NOETL_BIND:-127.0.0.1}:8082:8082"]


@pytest.fixture
def secrets() -> dict[str, str]:
    made = subprocess.run(
        [TOP / "tools" / "compose_secrets"], capture_output=True, text=True, check=True
    ).stdout
    return {name: value for name, _, value in (line.partition("=") for line in made.splitlines())}


def test_somebody_can_log_in(services: dict[str, JsonObject], secrets: dict[str, str]) -> None:
    assert "NOETL_HTTP_HOST=0.0.0.0" in (TOP / "Dockerfile").read_text()  # so the edge asks
    assert services["catalog"]["environment"]["NOETL_ACCESS_KEYS"] == "admin=${NOETL_ADMIN_KEY:?}"
    assert API_KEY.fullmatch(secrets["NOETL_ADMIN_KEY"])


def test_every_secret_is_made_by_the_tool(secrets: dict[str, str]) -> None:
    text = (TOP / "compose.yaml").read_text()
    wanted = {word.partition(":")[0] for word in text.split("${")[1:]} - {"NOETL_BIND"}

    assert wanted == set(secrets)
