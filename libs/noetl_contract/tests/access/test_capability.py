"""Capabilities of commands: what opens, and what does not."""

import base64
import hmac

import pytest
from noetl_contract.access.capability import Capability, basic_login, named_command, verified

KEY, OTHER = b"k" * 32, b"o" * 32
OURS = Capability(325077236512452608, 325077236516646912, 2)


def login(capability: Capability = OURS, key: bytes = KEY) -> tuple[str, str]:
    user, _, password = capability.userinfo(key).partition(":")
    return user, password


def test_user_information_is_text_that_an_address_can_hold() -> None:
    text = OURS.userinfo(KEY)

    assert text.startswith("325077236512452608.325077236516646912:2.")
    assert text.replace(":", "").replace(".", "").replace("-", "").replace("_", "").isalnum()
    assert OURS.userinfo(b"") == "325077236512452608.325077236516646912"


def test_what_was_minted_is_known_again_under_each_key_of_the_ring() -> None:
    assert verified(*login(), KEY) == OURS
    assert verified(*login(key=OTHER), KEY, OTHER) == OURS
    assert verified(*login(key=OTHER), KEY) is None


@pytest.mark.parametrize("key", [KEY, b"k", b"k" * 200])
def test_the_mac_is_that_of_execution_event_and_attempt(key: bytes) -> None:
    said = b"325077236512452608.325077236516646912.2"
    digest = hmac.digest(key, said, "sha256")[:16]

    for _ in range(2):
        assert OURS.mac(key) == base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("325077236512452609.325077236516646912", login()[1]),
        ("325077236512452608.325077236516646913", login()[1]),
        (login()[0], "3" + login()[1][1:]),
        (login()[0], "02" + login()[1][1:]),
        (login()[0], login()[1][:-1]),
        (login()[0], login()[1] + "="),
        (login()[0], ""),
        (login()[0], "2."),
        (login()[0], "2.é"),
        ("x.y", login()[1]),
        ("", ""),
    ],
)
def test_another_command_attempt_or_mac_opens_nothing(user: str, password: str) -> None:
    assert verified(user, password, KEY) is None


def test_an_empty_key_opens_nothing() -> None:
    assert verified(*login(key=b""), b"") is None
    forged = f"2.{OURS.mac(b'')}"
    assert verified(login()[0], forged, b"") is None


def test_names_of_commands_are_plain_numbers() -> None:
    assert named_command("7.8") == (7, 8)
    for name in ("7", "7.", ".8", "7.8.9", "-7.8", "07.8", "7.8 ", "\u0667.8", f"{1 << 63}.1"):
        assert named_command(name) is None


def test_basic_headers_are_read_as_clients_write_them() -> None:
    encoded = base64.b64encode(b"7.8:1.x:y")

    assert basic_login(b"Basic " + encoded) == ("7.8", "1.x:y")
    assert basic_login(b" bAsIc  " + encoded) == ("7.8", "1.x:y")
    assert basic_login(b"Bearer x") is None
    assert basic_login(b"Basic ***") is None
    assert basic_login(b"Basic " + base64.b64encode(b"\xff")) is None
