"""The identity of a worker, and its registration with the catalog."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

from noetl_contract.json import JsonObject

from noetl_worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Identity:
    """The worker's name, and an instance id that differs for each process of that name."""

    worker_id: str
    instance: str
    pool_name: str
    public_key: str = ""
    """Credentials may be sealed for it."""
    kinds: tuple[str, ...] = ()
    """The kinds of tools that it runs; empty says nothing."""

    @classmethod
    def of_this_process(
        cls, settings: Settings, *, public_key: str = "", kinds: Iterable[str] = ()
    ) -> "Identity":
        """Make the identity of a process; once."""
        return cls(
            settings.worker_id, uuid4().hex, settings.worker_pool_name, public_key, tuple(kinds)
        )

    def registration(self) -> JsonObject:
        """Return the body of a registration."""
        runtime: JsonObject = {"kind": "python", "instance": self.instance}
        if self.public_key:
            runtime["worker_public_key"] = self.public_key
        described = {"capabilities": {"tools": list(self.kinds)}} if self.kinds else {}
        return {
            **described,
            "name": self.worker_id,
            "component_type": "worker_pool",
            "runtime": runtime,
            "status": "ready",
            "hostname": socket.gethostname() or "unknown",
            "labels": {"pool_name": self.pool_name},
        }

    def heartbeat(self) -> JsonObject:
        """Return the body of a heartbeat."""
        return {"name": self.worker_id}

    def deregistration(self) -> JsonObject:
        """Return the body of a deregistration."""
        return {"name": self.worker_id, "component_type": "worker_pool"}
