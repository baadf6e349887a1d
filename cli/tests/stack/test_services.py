"""What services are told, and where servers of one's own are."""

from pathlib import Path

import pytest
from noetl.stack import services
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
        ({"POSTGRES_HOST": "db", "POSTGRES_PORT": "many"}, "POSTGRES_PORT"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(StackError, match=complaint):
        services.outside(environment)


def test_a_service_link_of_kubernetes_is_not_a_port() -> None:
    found = services.outside({"POSTGRES_HOST": "db", "POSTGRES_PORT": "tcp://10.0.0.1:5432"})

    assert found.databases is not None
    assert found.databases.cluster.port == 5432


def test_ports_are_outside_the_range_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert all(free_port() < lowest for _ in range(50))
