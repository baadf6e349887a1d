"""The data directory of a local stack: its lock, its secrets and ports, its state and logs."""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict

from noetl_contract.json import Json

from noetl.stack.errors import DataDirectoryInUseError, StackError
from noetl.stack.private_file import write_private
from noetl.stack.process import free_port, is_port_free

DEFAULT_NAME = ".noetl"
DEFAULT_PORT = 8082
"""Port of a local stack's HTTP edge unless another is asked for."""
ROLE = "noetl"
"""The user of the embedded servers."""


class ServiceState(TypedDict):
    """One process, as `noetl-server status` shows it."""

    name: str
    pid: int | None
    birth: str | None
    port: int
    state: str
    restarts: int
    trouble: str | None


class StackState(TypedDict):
    """The state file of a stack, and the answer of `status`, which adds the last two keys."""

    services: list[ServiceState]
    pid: NotRequired[int]
    url: NotRequired[str]
    updated_at: NotRequired[float]
    running: NotRequired[bool]
    data: NotRequired[str]


@dataclass
class Identity:
    """Secrets and ports that a stack keeps over restarts, in a file that only its owner can read.

    Attributes:
        name: also the NATS server's name, by which clients recognise it.
        nats_password: of the operator at the embedded NATS.
        postgres_password: of the embedded PostgreSQL.
        encryption_key: for stored credentials, base64 of 32 bytes.
        ports: by process name; used again as long as they are free.
        nats_users: passwords of the services and worker pools there, by user.
        postgres_roles: passwords of the services at the embedded PostgreSQL, by role.
        command_key: from which the capabilities of commands are made.
        store_key: under which the embedded NATS keeps its streams.
        shards: number of shards of the embedded PostgreSQL; its data can't be divided anew.
        admin_key: API key of an administrator, where callers must log in.
        worker_key: API key of the stack's own workers, likewise.
        is_admin_key_shown: whether the administrator's key was shown.
    """

    name: str
    nats_password: str
    postgres_password: str
    encryption_key: str
    ports: dict[str, int] = field(default_factory=dict)
    nats_users: dict[str, str] = field(default_factory=dict)
    postgres_roles: dict[str, str] = field(default_factory=dict)
    command_key: str = field(default_factory=lambda: secrets.token_hex(32))
    store_key: str = field(default_factory=lambda: secrets.token_hex(32))
    shards: int | None = None
    admin_key: str = ""
    worker_key: str = ""
    is_admin_key_shown: bool = False

    def nats_passwords(self, users: Iterable[str]) -> dict[str, str]:
        """Return the passwords of users of the embedded NATS; new users get one."""
        for user in users:
            self.nats_users.setdefault(user, secrets.token_hex(16))
        return {**self.nats_users, ROLE: self.nats_password}

    def role_passwords(self, roles: Iterable[str]) -> dict[str, str]:
        """Return the passwords of roles of the embedded PostgreSQL; new roles get one."""
        for role in roles:
            self.postgres_roles.setdefault(role, secrets.token_hex(16))
        return dict(self.postgres_roles)


class DataDirectory:
    """Files of one stack."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.logs = self.root / "logs"
        """One file per process."""
        self.nats = self.root / "nats"
        """Configuration and store of the embedded NATS."""
        self.postgres = self.root / "postgres"
        """PostgreSQL's data directory."""
        self._lock = self.root / "lock"
        self._users = self.root / "users"
        self._state = self.root / "state.json"
        self._last_state = self.root / "last_state.json"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the directory during the block; the kernel releases the lock when the process dies.

        Raises:
            DataDirectoryInUseError: another stack holds it.
            StackError: it can't be made or written.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._close_to_others()
            self.logs.mkdir(mode=0o700, exist_ok=True)
            # In a folder under version control: the passwords must not be committed.
            (self.root / ".gitignore").write_text("*\n")
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(
                f"can't use {self.root} as data directory: {error.strerror}"
            ) from error
        try:
            if not _take(handle):
                raise DataDirectoryInUseError(
                    f"a stack is running on {self.root} already (noetl-server status); "
                    "use another directory with --data"
                )
            with suppress(FileNotFoundError):
                self._state.replace(self._last_state)
            yield
        finally:
            os.close(handle)

    def _close_to_others(self) -> None:
        """Set the modes anew: a script under our own user may have changed them."""
        for path, mode in ((self.root, 0o700), (self.root / "identity.json", 0o600)):
            # Those of somebody else are his business.
            with suppress(FileNotFoundError, PermissionError):
                path.chmod(mode)

    def is_held(self) -> bool:
        """Return whether a living stack holds the directory."""
        return _is_locked(self._lock, fcntl.LOCK_SH)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Mark the directory's stack as needed, for the block."""
        handle = os.open(self._users, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)

    def is_used(self) -> bool:
        """Return whether another process needs the stack of the directory."""
        return _is_locked(self._users, fcntl.LOCK_EX)

    def identity(self) -> Identity:
        """Return the stack's identity, made on the first call.

        Raises:
            StackError: the file is damaged, or another version's.
        """
        path = self.root / "identity.json"
        known = _read_json(path)
        if known is not None:
            try:
                return Identity(**known)
            except TypeError as error:
                raise StackError(f"{path} is damaged or of another version: {error}") from error
        made = Identity(
            name=f"noetl-{secrets.token_hex(6)}",
            nats_password=secrets.token_hex(16),
            postgres_password=secrets.token_hex(16),
            encryption_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        )
        self.save_identity(made)
        return made

    def admin_key(self) -> str:
        """Return the key of the stack's administrator; empty when it has none."""
        known = _read_json(self.root / "identity.json") or {}
        return str(known.get("admin_key") or "")

    def save_identity(self, identity: Identity) -> None:
        """Store the identity durably: without its passwords the data can't be opened."""
        text = json.dumps(asdict(identity), indent=2)
        write_private(self.root / "identity.json", text, durable=True)

    def port(self, identity: Identity, process: str) -> int:
        """Return the recorded port of a process, or a new one when another program uses it."""
        known = identity.ports.get(process)
        others = {port for name, port in identity.ports.items() if name != process}
        if known is None or known in others or not is_port_free(known):
            identity.ports[process] = free_port(taken=others)
        return identity.ports[process]

    def state(self) -> StackState | None:
        """Return the state that the supervisor wrote last; None when it is illegible."""
        return _read_state(self._state)

    def last_state(self) -> StackState | None:
        """Return the last state of the supervisor before the present one."""
        return _read_state(self._last_state)

    def save_state(self, state: StackState) -> None:
        """Store the state of the stack."""
        write_private(self._state, json.dumps(state, indent=2))


def locate(data: Path | None) -> DataDirectory:
    """Return the data directory: the given one, `$NOETL_DATA_DIR`, or `./.noetl`."""
    return DataDirectory(data or Path(os.environ.get("NOETL_DATA_DIR") or DEFAULT_NAME))


def _take(handle: int) -> bool:
    """Take the lock unless another process holds it; `status` shares it for a moment only."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False


def _is_locked(path: Path, wanted: int) -> bool:
    """Return whether other processes stand in the way of a lock on a file, shared or not."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, wanted | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _read_json(path: Path) -> Json:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StackError(f"{path} is damaged: {error}") from error


def _read_state(path: Path) -> StackState | None:
    try:
        state: StackState | None = _read_json(path)
    except StackError:
        return None  # not written durably, and the next start writes it anew
    return state if isinstance(state, dict) else None
