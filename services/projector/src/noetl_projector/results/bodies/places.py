"""All places: the one for new bodies, and those of older bodies."""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from time import monotonic

from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient
from noetl_common.errors import NoetlError
from noetl_service.logins import StoredCredential

from noetl_projector.results.bodies.bucket import GCS, S3, open_buckets
from noetl_projector.results.bodies.object_store import ObjectStorePlace
from noetl_projector.results.bodies.place import BodyDamaged, BodyPlace, PlaceUnavailable
from noetl_projector.settings import Settings

_PROBE_LASTS_SECONDS = 5.0
_LONG_BODY = 1 << 20


class Places:
    """Everything outside the database that may hold a body."""

    def __init__(self, places: Mapping[str, BodyPlace], *, chosen: str) -> None:
        self._places = places
        self.chosen = places.get(chosen)
        """The place for new bodies; None means the database."""
        self._was_ready_until = 0.0

    async def read(self, store: str, location: str, *, size: int, digest: str) -> bytes:
        """Return a body and compare its checksum.

        Raises:
            NoetlError: the body is unavailable, missing or damaged.
        """
        body = await self._place(store).get(location, size=size)
        found = await asyncio.to_thread(_digest, body) if len(body) > _LONG_BODY else _digest(body)
        if found != digest:
            raise BodyDamaged(store=store, location=location)
        return body

    async def put(self, store: str, location: str, body: bytes) -> None:
        """Store a body where its row says, as a restore does.

        Raises:
            NoetlError: that could not be done.
        """
        await self._place(store).put(location, body)

    async def delete(self, store: str, location: str) -> None:
        """Remove a body.

        Raises:
            NoetlError: that could not be done.
        """
        await self._place(store).delete(location)

    async def is_ready(self) -> bool:
        """Return whether new bodies can be stored; the answer is cached for some seconds."""
        if self.chosen is None or monotonic() < self._was_ready_until:
            return True
        try:
            await self.chosen.is_ready()
        except NoetlError:
            return False
        self._was_ready_until = monotonic() + _PROBE_LASTS_SECONDS
        return True

    def _place(self, store: str) -> BodyPlace:
        place = self._places.get(store)
        if place is None:
            raise PlaceUnavailable(store=store, reason="the settings say nothing about it")
        return place


def open_places(settings: Settings, bus: Bus) -> Places:
    """Make every place that the settings describe."""
    rpc = RpcClient(bus)
    named = {S3: settings.result_s3_credential, GCS: settings.result_gcs_credential}
    logins = {store: StoredCredential(rpc, name) for store, name in named.items() if name}
    places: dict[str, BodyPlace] = {
        ObjectStorePlace.name: ObjectStorePlace(bus, settings),
        **open_buckets(settings, logins),
    }
    return Places(places, chosen=settings.result_store)


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()
