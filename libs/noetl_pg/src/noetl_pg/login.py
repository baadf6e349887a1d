"""Logins with a password file, which may change while a process runs."""

import asyncio
from pathlib import Path

from noetl_common.environment.secret_files import text_of
from noetl_common.logins import Login, LoginUnreadable

from noetl_pg.settings import PostgresSettings


class FileLogin:
    """A login whose password is read from a file for each connection."""

    def __init__(self, user: str, path: str) -> None:
        self._user = user
        self._path = Path(path)

    async def current(self) -> Login:
        """Return the login with the current password of the file."""
        try:
            password = await asyncio.to_thread(text_of, self._path)
        except ValueError as error:
            raise LoginUnreadable(f"the password file {error}") from error
        return Login(self._user, password)

    async def after_refusal(self, refused: Login) -> Login:  # noqa: ARG002 -- the file is read again anyway
        """Return the login with the current password of the file."""
        return await self.current()


def file_login(settings: PostgresSettings) -> FileLogin | None:
    """Return the login with a password file, or None if the settings name no file."""
    path = settings.postgres_password_path
    return FileLogin(settings.postgres_user, path) if path else None
