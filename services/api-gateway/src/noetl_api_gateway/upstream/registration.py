"""The registration of this edge at the catalog: behind a silent edge no worker is judged (L3)."""

import asyncio
from contextlib import suppress

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.http.workers.runtimes import (
    RuntimeBeat,
    RuntimeNameRequest,
    RuntimeRegistration,
)
from noetl_contract.rpc.catalog import RUNTIME_DEREGISTER, RUNTIME_HEARTBEAT, RUNTIME_REGISTER

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import Services

_log = get_logger()
_KIND = "server_api"
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
        self._name = name
        self._instance = instance
        self.interval_seconds = interval_seconds
        self._is_registered = False
        self._was_heard = True

    async def renew(self) -> None:
        """Send a heartbeat, or first the registration; log failures."""
        try:
            await self._send()
        except (Refusal, NoetlError) as error:
            if self._was_heard:
                _log.warning("presence_not_heard", error=str(error))
            self._was_heard = False
        else:
            self._is_registered = self._was_heard = True

    async def leave(self) -> None:
        """Remove the registration; no error when the catalog is away."""
        if self._is_registered:
            name = RuntimeNameRequest(name=self._name, kind=_KIND)
            with suppress(Refusal, NoetlError):
                await self._services.forward(RUNTIME_DEREGISTER, name, within=_LEAVE_SECONDS)

    async def _send(self) -> None:
        seconds = self.interval_seconds
        if self._is_registered:
            beat = RuntimeBeat(name=self._name, kind=_KIND)
            try:
                await self._services.forward(RUNTIME_HEARTBEAT, beat, within=seconds)
            except Refusal as refusal:
                if refusal.status != 404:
                    raise
                # It counts as left, or its row is lost.
                self._is_registered = False
            else:
                return
        runtime = {"type": "server", "instance": self._instance}
        registration = RuntimeRegistration(
            name=self._name, kind=_KIND, status="ready", runtime=runtime
        )
        await self._services.forward(RUNTIME_REGISTER, registration, within=seconds)


async def run_registration(registration: Registration) -> None:
    """Send heartbeats until cancelled."""
    while True:
        await registration.renew()
        await asyncio.sleep(registration.interval_seconds)
