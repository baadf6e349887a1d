"""Host names of the server and origins of pages, by the address of the port."""

import pytest
from noetl_api_gateway.intake.bodies import ALWAYS, BodiesFullError, BodyBudget
from noetl_api_gateway.intake.names import Origins, ServerNames
from noetl_api_gateway.intake.streams import StreamPlaces

NAMES = ("noetl.example.org", "*.pods.example")


@pytest.mark.parametrize(
    ("host", "known"),
    [
        (b"localhost:1", (True, True)),
        (b"10.0.0.1", (True, True)),
        (b"[fe80::1]:8082", (True, True)),
        (b"NOETL.example.org.", (True, True)),
        (b"a.pods.example", (True, True)),
        (b"gateway.docker.internal", (True, True)),
        (b"api-gateway:8082", (False, True)),
        (b"noetl.default.svc", (False, True)),
        (b"noetl.default.svc.cluster.local:8082", (False, True)),
        (b"pods.example", (False, False)),
        (b"noetl.default.svc.evil.example", (False, False)),
        (b"", (False, False)),
        (b"\xff\xff.example", (False, False)),
        (b"[::1", (False, False)),
    ],
)
def test_names_by_where_the_port_is_bound(host: bytes, known: tuple[bool, bool]) -> None:
    near = ServerNames(NAMES, bound_to="127.0.0.1")
    far = ServerNames(NAMES, bound_to="0.0.0.0")  # noqa: S104 -- nothing is bound

    assert (near.has(host), far.has(host)) == known
    assert (near.has(host), far.has(host)) == known


def test_any_name_can_be_allowed() -> None:
    assert ServerNames(["*"], bound_to="::1").has(b"evil.example")


def test_pages_on_loopback_read_only_where_nobody_logs_in() -> None:
    names = ServerNames((), bound_to="127.0.0.1")
    reading = [
        Origins(listed, names, is_open=is_open).may_read("http://localhost:3000")
        for listed, is_open in [((), True), ((), False), (["https://ui.example"], True)]
    ]

    assert reading == [True, False, False]
    assert Origins(["https://ui.example"], names, is_open=False).may_read("https://ui.example")


def test_an_address_has_half_of_the_bodies() -> None:
    budget = BodyBudget(100)
    budget.take("10.0.0.1", 50)
    with pytest.raises(BodiesFullError):
        budget.take("10.0.0.1", 1)
    budget.take("127.0.0.1", 50)
    with pytest.raises(BodiesFullError):
        budget.take("10.0.0.2", 1)
    budget.give_back("10.0.0.1", 50)
    budget.take("10.0.0.2", 1)

    assert budget.held == 51


async def test_small_bodies_are_always_taken() -> None:
    budget = BodyBudget(1)
    body = budget.open("10.0.0.1")

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"a" * ALWAYS, "more_body": True}

    counted = body.counting(receive)
    await counted()
    with pytest.raises(BodiesFullError):
        await counted()
    body.close()
    body.close()

    assert budget.held == 0


def test_streams_have_places_of_all_of_an_address_and_of_a_caller() -> None:
    places = StreamPlaces(3, per_address=2, per_principal=1)
    one, other = {"client": ("10.0.0.1", 1)}, {"client": ("10.0.0.2", 1)}
    places.take(one)
    places.take(one)

    assert (places.full(one), places.full(other)) == ("address", None)
    places.take(other)
    assert (places.full(one), places.taken) == ("all", 3)
    places.leave(one)
    places.leave(one)
    assert places.full(one) is None
