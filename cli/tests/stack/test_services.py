"""Variables that services get, and addresses of the user's own servers."""

import subprocess
import sys
from pathlib import Path

import pytest
from noetl.stack import process, services
from noetl.stack.errors import StackError
from noetl.stack.process import free_port


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 -- nobody listens
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("db.local", "http://db.local:80"),
    ],
)
def test_the_url_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    assert services.public_url(host, 80) == url


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"NOETL_NATS_URL": "localhost:4222"}, "NOETL_NATS_URL"),
        ({"NOETL_NATS_URL": "nats://["}, "NOETL_NATS_URL"),
        ({"NOETL_NATS_URL": "nats://host:many"}, "NOETL_NATS_URL"),
        ({"NOETL_NATS_URL": "nats://host:4222,http://other"}, "NOETL_NATS_URL"),
        ({"NOETL_NATS_URL": "nats://" + "a" * 64}, "NOETL_NATS_URL"),
        ({"POSTGRES_HOST": "db", "POSTGRES_PORT": "many"}, "POSTGRES_PORT"),
        ({"POSTGRES_HOST": "db", "POSTGRES_PORT": "70000"}, "POSTGRES_PORT"),
        ({"POSTGRES_HOST": "["}, "POSTGRES_HOST"),
        ({"POSTGRES_HOST": "postgres://db/noetl"}, "POSTGRES_HOST"),
        ({"POSTGRES_HOST": "a b"}, "POSTGRES_HOST"),
        ({"NOETL_SHARDS": "host=a/b;user=u"}, "NOETL_SHARDS: a host"),
        ({"NOETL_SHARDS": "host=db;user=u", "NOETL_CLUSTER_DSN": "host=;user=u"}, "CLUSTER_DSN"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(StackError, match=complaint):
        services.outside(environment)


def test_several_brokers_are_one_address_each() -> None:
    servers = "nats://a:4222,nats://[::1]:4222,c"

    told = services.outside({"NOETL_NATS_URL": servers, "NATS_USER": "me", "NATS_PASSWORD": "p@"})

    assert services.outside({"NOETL_NATS_URL": servers}).nats_url == servers
    assert told.nats_url == "nats://me:p%40@a:4222,nats://[::1]:4222,c"


def test_a_service_link_of_kubernetes_is_not_a_port() -> None:
    found = services.outside({"POSTGRES_HOST": "db", "POSTGRES_PORT": "tcp://10.0.0.1:5432"})

    assert found.databases is not None
    assert found.databases.cluster.port == 5432


def test_ports_are_outside_the_range_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert all(free_port() < lowest for _ in range(50))


def test_a_process_has_one_login_at_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_USER", "outbox")
    monkeypatch.setenv("NATS_PASSWORD", "p")
    monkeypatch.setenv("NOETL_NATS_NKEY_SEED_FILE", "/run/secrets/seed")
    (outbox,) = (one for one in services.replicas({}) if one.service == "outbox")

    def told(url: str) -> set[str]:
        names = set(services._inherited(outbox, url))
        return names & {"NATS_USER", "NATS_PASSWORD", "NOETL_NATS_NKEY_SEED_FILE"}

    assert told("nats://outbox:of-the-stack@127.0.0.1:1") == set()
    assert told("nats://broker:4222") == {"NATS_USER", "NOETL_NATS_NKEY_SEED_FILE"}


def test_a_port_is_given_once_before_anybody_listens_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = free_port()
    monkeypatch.setattr(process, "FIRST_PORT", first)
    monkeypatch.setattr(process, "LAST_PORT", first + 1)

    with pytest.raises(StackError, match="no free port"):
        free_port()


def test_a_port_is_not_given_by_two_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; from noetl.stack.process import free_port; print(free_port(), flush=True); sys.stdin.read()"  # noqa: E501 -- one program
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        monkeypatch.setattr(process, "FIRST_PORT", theirs)
        monkeypatch.setattr(process, "LAST_PORT", theirs + 1)
        with pytest.raises(StackError, match="no free port"):
            free_port()
        other.communicate()

    assert free_port() == theirs
