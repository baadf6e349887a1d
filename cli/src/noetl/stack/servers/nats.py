"""One embedded NATS server: its configuration, its command line, and whether it is itself."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from noetl_contract.documents.broker_logins import OPERATOR, BrokerUser, authorization
from noetl_contract.streams import ALL_STREAMS, NO_MESSAGES, PURGE_FAILED

from noetl.stack.child import Ailment
from noetl.stack.private_file import write_private
from noetl.stack.process import with_parent_death
from noetl.stack.servers import binaries
from noetl.stack.servers.nats_probe import NatsProbe

MEGABYTE = 1024 * 1024
_ROOM_BYTES = 16 * MEGABYTE


def nats_address(user: str, password: str, *, port: int) -> str:
    """Return the address of a local server with a login."""
    return f"nats://{user}:{password}@127.0.0.1:{port}"


def _default_users() -> tuple[BrokerUser, ...]:
    from noetl_contract.documents.broker_users import broker_users  # noqa: PLC0415 -- loads slowly

    return broker_users()


@dataclass(frozen=True, kw_only=True)
class NatsInstance:
    """A NATS server with JetStream whose state lives in one folder.

    The name is its identity: a client that reaches another server on the same port learns it from
    the first line the server sends.
    """

    directory: Path
    name: str
    port: int
    passwords: Mapping[str, str]
    """By user; every user of `users` has one."""
    users: tuple[BrokerUser, ...] = field(default_factory=_default_users)
    monitor_port: int | None = None
    store_key: str | None = None
    """Under which streams are kept; a store in clear is encrypted at the next start."""
    max_payload_bytes: int = 8 * MEGABYTE
    max_store_bytes: int = 64 * 1024 * MEGABYTE
    max_memory_bytes: int = 1024 * MEGABYTE

    @property
    def url(self) -> str:
        """Address with the login of the operator, which has all rights."""
        return self.url_of(OPERATOR)

    def url_of(self, user: str) -> str:
        """Address with the login of a user."""
        return nats_address(user, self.passwords[user], port=self.port)

    @property
    def store(self) -> Path:
        """Folder in which JetStream keeps its files."""
        return self.directory / "jetstream"

    def prepare(self) -> None:
        """Write the configuration; safe to repeat before every start."""
        self.directory.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in self._settings().items())
        text += authorization(self.users, lambda user: json.dumps(self.passwords[user]))
        write_private(self.directory / "nats.conf", text)

    def command(self) -> list[str]:
        """Return the command line; JetStream survives a kill, so the server need not outlive us."""
        program = [str(binaries.nats_server()), "-c", str(self.directory / "nats.conf")]
        return with_parent_death(program, signal_name="TERM")

    def is_ready(self) -> bool:
        """Return whether *this* server answers, accepts the password, and has JetStream running."""
        try:
            with NatsProbe(self.url) as probe:
                if probe.info.get("server_name") != self.name:
                    return False
                return "error" not in probe.request("$JS.API.INFO")
        except (OSError, ValueError):
            return False

    def failed_streams(self) -> list[str]:
        """Return the streams that take nothing any more, until the server is started again.

        Raises:
            OSError, ValueError: it doesn't answer.
        """
        failed = []
        with NatsProbe(self.url) as probe:
            for stream in ALL_STREAMS:
                purge = f"$JS.API.STREAM.PURGE.{stream.name}"
                error = probe.request(purge, {"filter": NO_MESSAGES}).get("error")
                if isinstance(error, dict) and error.get("err_code") == PURGE_FAILED:
                    failed.append(stream.name)
        return failed

    def ailment(self) -> Ailment | None:
        """Return the trouble of this server, if it answers and yet stores nothing."""
        try:
            failed = self.failed_streams()
            if not failed:
                return None
            free = shutil.disk_usage(self.store).free
        except (OSError, ValueError):
            return None  # whether it answers is asked elsewhere
        text = f"it stores nothing in {', '.join(failed)} since a write to its disk failed"
        if free < _ROOM_BYTES:
            return Ailment(f"{text}, which has {free // MEGABYTE} MB left", restart_helps=False)
        return Ailment(f"{text}; there is room now", restart_helps=True)

    def _settings(self) -> dict[str, object]:
        settings: dict[str, object] = {
            "server_name": self.name,
            "host": "127.0.0.1",
            "port": self.port,
            "max_payload": self.max_payload_bytes,
            "max_pending": 64 * MEGABYTE,
            # No sync_interval: the default flushes every two minutes. A kill loses nothing, and
            # what a power cut loses is sent again from PostgreSQL.
            "jetstream": {
                "store_dir": str(self.store),
                "max_file_store": self.max_store_bytes,
                "max_memory_store": self.max_memory_bytes,
                **({"cipher": "chachapoly", "key": self.store_key} if self.store_key else {}),
            },
        }
        if self.monitor_port is not None:
            settings["http"] = f"127.0.0.1:{self.monitor_port}"
        return settings
