"""Capabilities: user information in the addresses that playbooks get.

That of one command is in the ``server_url`` of its notification:
``http://<execution>.<event>:<attempt>.<mac>@host:port``. HTTP clients send it as Basic with each
call below that address. The mac is HMAC-SHA-256 over execution, event and attempt, cut to 128
bits, under a key that orchestrator and edge share (``NOETL_COMMAND_KEY``).
Without a key the user name alone is sent: it names the command and opens nothing.

That of one request of a page is in the ``gateway_url`` of its workload:
``http://page.<request>:<mac>@host:port``. It lets a playbook post the result of that request.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from functools import lru_cache

_BYTES = 16
_MOST_DIGITS = 19
_LARGEST = (1 << 63) - 1
# No number, so no command has such a name.
_PAGE = "page."


@dataclass(frozen=True, slots=True)
class Capability:
    """One attempt at one command.

    Attributes:
        execution_id: the execution.
        event_id: the event that issued the command.
        attempt: the attempt of the notification, from 1.
    """

    execution_id: int
    event_id: int
    attempt: int

    def mac(self, key: bytes) -> str:
        """Return the mac as url-safe text of 22 characters."""
        return _mac(key, f"{self.execution_id}.{self.event_id}.{self.attempt}")

    def userinfo(self, key: bytes) -> str:
        """Return the user information of an address; without a key only the command's name."""
        name = f"{self.execution_id}.{self.event_id}"
        return f"{name}:{self.attempt}.{self.mac(key)}" if key else name


@dataclass(frozen=True, slots=True)
class PageCapability:
    """One request of a page.

    Attributes:
        request_id: of the request; letters, digits, ``-`` and ``_``.
    """

    request_id: str

    @property
    def user(self) -> str:
        """The user name, which names the request."""
        return f"{_PAGE}{self.request_id}"

    def mac(self, key: bytes) -> str:
        """Return the mac as url-safe text of 22 characters."""
        return _mac(key, self.user)


@lru_cache(maxsize=16)
def _begun(key: bytes) -> hmac.HMAC:
    """Return a mac that has taken the key, cached: to begin one costs as much as all the rest."""
    return hmac.new(key, digestmod="sha256")


def _mac(key: bytes, said: str) -> str:
    made = _begun(key).copy()
    made.update(said.encode())
    return base64.urlsafe_b64encode(made.digest()[:_BYTES]).decode().rstrip("=")


def named_command(user: str) -> tuple[int, int] | None:
    """Return (execution id, event id) in a user name; None for any other name."""
    execution, dot, event = user.partition(".")
    if not dot:
        return None
    execution_id, event_id = _number(execution), _number(event)
    return None if execution_id is None or event_id is None else (execution_id, event_id)


def verified(user: str, password: str, *key_ring: bytes) -> Capability | None:
    """Return the capability in user name and password; None when they are not a valid one.

    Args:
        user: ``<execution>.<event>``.
        password: ``<attempt>.<mac>``.
        key_ring: keys that are valid; empty ones open nothing.
    """
    command = named_command(user)
    attempt_text, _, mac = password.partition(".")
    attempt = _number(attempt_text)
    if command is None or attempt is None or not mac.isascii():
        return None
    claimed = Capability(*command, attempt)
    matches = [hmac.compare_digest(claimed.mac(key), mac) for key in key_ring if key]
    return claimed if any(matches) else None


def verified_page(user: str, password: str, *key_ring: bytes) -> PageCapability | None:
    """Return the capability of a page's request in user name and password; None if invalid.

    Args:
        user: ``page.<request>``.
        password: the mac.
        key_ring: keys that are valid; empty ones open nothing.
    """
    if not user.startswith(_PAGE) or not user.isascii() or not password.isascii():
        return None
    claimed = PageCapability(user.removeprefix(_PAGE))
    matches = [hmac.compare_digest(claimed.mac(key), password) for key in key_ring if key]
    return claimed if any(matches) else None


def basic_login(header: bytes) -> tuple[str, str] | None:
    """Return user name and password of an ``Authorization: Basic`` header, None for another."""
    scheme, _, encoded = header.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, _, password = text.partition(":")
    return user, password


def _number(text: str) -> int | None:
    is_plain = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    number = int(text) if is_plain and text == str(int(text)) else None
    return number if number is not None and number <= _LARGEST else None
