"""The user that PostgreSQL runs as: it refuses to run as root."""

import functools
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from noetl.stack.errors import StackError

DEDICATED_USER = "noetl-postgres"


@dataclass(frozen=True)
class ServerUser:
    """User of the operating system that runs PostgreSQL.

    Attributes:
        switch: words in front of a program; empty when no switch is needed.
        uid: owner that the data files must have, None when ours is right.
        gid: the same for the group.
    """

    switch: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def give(self, path: Path) -> None:
        """Make the user the owner of a file or folder."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def let_through(self, folder: Path, program: Path) -> None:
        """Make the contents of a folder reachable for the user, and check that they are.

        Raises:
            StackError: the folder or the program is out of the user's reach.
        """
        if self.uid is None:
            return
        folder.chmod(folder.stat().st_mode | 0o011)
        for path in (folder, program):
            tried = subprocess.run([*self.switch, "test", "-x", str(path)], check=False)
            if tried.returncode != 0:
                raise StackError(
                    f"PostgreSQL can't run as root, and the user {DEDICATED_USER} can't reach "
                    f"{path}: use a place that others may enter, or start the stack as another user"
                )


@functools.cache
def server_user() -> ServerUser:
    """Return the first that works: the present user, a user namespace, or a dedicated user."""
    if os.geteuid() != 0:
        return ServerUser()
    return _in_user_namespace() or _dedicated_user()


def _in_user_namespace() -> ServerUser | None:
    # Inside, root is some ordinary user; outside nothing changes: the files stay root's, no user
    # is made, and folders only root may enter work. initdb wants the user to have a name.
    unshare = shutil.which("unshare")
    named = sorted(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0)
    if unshare is None or not named:
        return None
    switch = (unshare, "-U", f"--map-user={named[0]}", f"--map-group={named[0]}")
    tried = subprocess.run([*switch, "true"], capture_output=True, check=False)
    return ServerUser(switch) if tried.returncode == 0 else None


def _dedicated_user() -> ServerUser:
    setpriv, useradd = shutil.which("setpriv"), shutil.which("useradd")
    if setpriv is None or useradd is None:
        raise StackError("PostgreSQL can't run as root here: start the stack as another user")
    try:
        entry = pwd.getpwnam(DEDICATED_USER)
    except KeyError:
        made = subprocess.run(
            [useradd, "--system", "--no-create-home", "--shell", "/bin/false", DEDICATED_USER],
            capture_output=True,
            check=False,
        )
        if made.returncode != 0:
            raise StackError(
                "PostgreSQL can't run as root, user namespaces are switched off, and the user "
                f"{DEDICATED_USER} can't be made: use another user"
            ) from None
        entry = pwd.getpwnam(DEDICATED_USER)
    switch = (
        setpriv,
        f"--reuid={entry.pw_uid}",
        f"--regid={entry.pw_gid}",
        "--clear-groups",
    )
    return ServerUser(switch, entry.pw_uid, entry.pw_gid)
