"""The registration of this edge at the catalog: behind a silent edge no worker is judged (L3)."""

import asyncio

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import Services

_log = get_logger()
_LEAVE_SECONDS = 1.0


class Registration:
    """Keep this process registered as a runtime.

    Args:
        services: the way to the catalog.
        name: the same after a restart, so that each edge has one row.
        instance: another one after each start, which marks a new process.
        interval_seconds: pause between two heartbeats, and the timeout of one.
    """

    def __init__(
        self, services: Services, *, name: str, instance: str, interval_seconds: float
    ) -> None:
        self._services = services
        self._who = {"name": name, "kind": "server_api"}
        self._runtime = {"type": "server", "instance": instance}
        self.interval_seconds = interval_seconds
        self._is_registered = False
        self._was_heard = True

    async def renew(self) -> None:
        """Send a heartbeat, or first the registration; log failures."""
        reply = await self._send()
        if reply.status == 404 and self._is_registered:
            # It counts as left, or its row is lost.
            self._is_registered = False
            reply = await self._send()
        is_heard = reply.status == 200
        self._is_registered |= is_heard
        if not is_heard and self._was_heard:
            _log.warning("presence_not_heard", error=reply.error)
        self._was_heard = is_heard

    async def leave(self) -> None:
        """Remove the registration; no error when the catalog is away."""
        if self._is_registered:
            await self._ask("runtime.deregister", self._who, _LEAVE_SECONDS)

    async def _send(self) -> RpcReply:
        if self._is_registered:
            return await self._ask("runtime.heartbeat", self._who, self.interval_seconds)
        registration = self._who | {"status": "ready", "runtime": self._runtime}
        return await self._ask("runtime.register", registration, self.interval_seconds)

    async def _ask(self, operation: str, request: JsonObject, timeout_seconds: float) -> RpcReply:
        try:
            return await self._services.catalog(operation, request, timeout_seconds=timeout_seconds)
        except Refusal as error:
            return RpcReply(status=error.status, error=error.text)
        except NoetlError as error:
            return RpcReply(status=error.http_status, error=error.message)


async def run_registration(registration: Registration) -> None:
    """Send heartbeats until cancelled."""
    while True:
        await registration.renew()
        await asyncio.sleep(registration.interval_seconds)
