"""Token buckets, failed logins, and how rates are written."""

import pytest
from noetl_api_gateway.rates import Buckets, FailedLogins, Rate, parsed_rates
from noetl_api_gateway.settings import Settings
from pydantic import ValidationError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_empties_and_fills() -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_second=2, burst=3), clock)
    waits = []
    for _ in range(4):
        waits.append(buckets.wait("a"))
        if not waits[-1]:
            buckets.take("a")
    clock.now += 0.5

    assert waits == [0, 0, 0, 0.5]
    assert (buckets.wait("a"), buckets.wait("b")) == (0, 0)


def test_a_batch_is_paid_for_later() -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_second=1, burst=3), clock)
    buckets.take("a", 10)
    assert buckets.wait("a") == 8
    clock.now += 100
    assert buckets.wait("a") == 0


def test_guesses_are_counted_and_what_was_good_goes_on() -> None:
    logins = FailedLogins(Rate(per_second=0.1, burst=3), Clock())
    logins.note("10.0.0.1", b"good", is_good=True)
    for guess in (b"1", b"2", b"2", b"3"):
        logins.note("10.0.0.1", guess, is_good=False)

    assert logins.wait("10.0.0.1", b"4") == pytest.approx(10)
    assert logins.wait("10.0.0.1", b"good") == 0
    assert logins.wait("10.0.0.1", b"2") == 0
    assert logins.wait("10.0.0.2", b"4") == 0


@pytest.mark.parametrize(
    "login",
    [
        b"nk_0a1b_" + b"-" * 43,
        b"eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl",
        b"6f1c0e8e-7b0f-4c8e-9d4e-2b7c5a1f3e90",
        b"0123456789abcdef0123456789abcdef",
    ],
    ids=["key", "jwt", "uuid", "hexadecimal"],
)
def test_logins_that_nobody_can_guess_share_no_bucket(login: bytes) -> None:
    logins = FailedLogins(Rate(per_second=0.1, burst=1), Clock())
    for number in range(5):
        logins.note("10.0.0.1", login[:-1] + b"%d" % number, is_good=False)
    assert logins.wait("10.0.0.1", login) == 0

    logins.note("10.0.0.1", b"guess", is_good=False)
    assert logins.wait("10.0.0.1", b"another") > 0
    assert logins.wait("10.0.0.1", login[:31]) > 0, "so short a login may be a guess"
    assert logins.wait("10.0.0.1", login) == 0
    # A guess beside it is a guess.
    assert logins.wait("10.0.0.1", login, b"another") > 0


def test_clients_are_forgotten_when_there_are_many() -> None:
    buckets = Buckets(Rate(per_second=1, burst=1))
    for number in range(10_050):
        buckets.take(str(number))

    assert len(buckets._left) == 10_000


def test_rates_as_written() -> None:
    assert parsed_rates("a 5/s 10, b 30/min 2,") == {"a": Rate(5, 10), "b": Rate(0.5, 2)}


@pytest.mark.parametrize(
    "text", ["starts 5", "starts 5/h 1", "starts x/s 1", "starts 0/s 1", "starts 1/s 0", "a 1/s 1"]
)
def test_wrong_rates_are_named(text: str) -> None:
    with pytest.raises(ValidationError, match=text.split(maxsplit=1)[0]):
        Settings(rate_limits=text)


@pytest.mark.parametrize(
    ("mode", "is_login_needed", "expected"),
    [("auto", False, False), ("auto", True, True), ("on", False, True), ("off", True, False)],
)
def test_where_rates_are_bounded(mode: str, *, is_login_needed: bool, expected: bool) -> None:
    settings = Settings(rate_limiting=mode)

    assert settings.bounds_rates(is_login_needed=is_login_needed) == expected
