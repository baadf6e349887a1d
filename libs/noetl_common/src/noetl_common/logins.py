"""Logins that may change while a process runs."""

from dataclasses import dataclass, field
from typing import Protocol


class LoginUnreadable(ConnectionError):
    """The source of a login can't be read now; the text names the source and holds no secret."""


@dataclass(frozen=True, slots=True)
class Login:
    """A role and its password."""

    user: str
    password: str = field(repr=False)


class LoginSource(Protocol):
    """Source of the login of each new connection."""

    async def current(self) -> Login:
        """Return the login for the next connection.

        Raises:
            LoginUnreadable: the source can't be read now.
        """

    async def after_refusal(self, refused: Login) -> Login:
        """Return the next login after the server refused one; the same if there is no other.

        Raises:
            LoginUnreadable: the source can't be read now.
        """
