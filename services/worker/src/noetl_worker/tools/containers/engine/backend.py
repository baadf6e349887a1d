"""Containers of an engine: one per command, found by labels, followed by its events."""

from collections.abc import Awaitable
from dataclasses import replace
from time import time

import orjson
from noetl_contract.json import Json, JsonObject

from noetl_worker.tools.containers.backend import (
    BackendError,
    Condition,
    Ending,
    NotStarted,
    See,
    SeeAll,
    Sighting,
    Started,
)
from noetl_worker.tools.containers.engine.api import EngineApi
from noetl_worker.tools.containers.engine.body import Ceilings, create_body
from noetl_worker.tools.containers.engine.images import pull
from noetl_worker.tools.containers.engine.labels import hidden_values, labels_in, origin_of
from noetl_worker.tools.containers.engine.sightings import (
    ENDED,
    REPORTED,
    ended,
    listed,
    name_in,
    sighting_in,
)
from noetl_worker.tools.containers.logs import masked
from noetl_worker.tools.containers.plan import (
    EVENT_LABEL,
    KIND,
    KIND_LABEL,
    POOL_LABEL,
    Plan,
    label_of,
)

_MOST_LINES = 2000


class EngineBackend:
    """The containers of one pool on an engine.

    Args:
        api: the engine.
        pool: whose containers are followed.
        ceilings: what no playbook can change about a container.
        pull_seconds: how long an image may take.
        log_bytes: how much of a container's output is kept.
    """

    def __init__(
        self,
        api: EngineApi,
        *,
        pool: str,
        ceilings: Ceilings,
        pull_seconds: float,
        log_bytes: int,
    ) -> None:
        self._api = api
        self._labels = [f"{KIND_LABEL}={KIND}", f"{POOL_LABEL}={label_of(pool)}"]
        self._ceilings = ceilings
        self._pull_seconds = pull_seconds
        self._log_bytes = log_bytes

    async def close(self) -> None:
        """Close the connections to the engine."""
        await self._api.close()

    async def start(self, plan: Plan) -> Started:
        """Create and start the container of a command, unless there is one."""
        for name in plan.env_refs:
            raise BackendError(
                f"env var '{name}': value_from needs a cluster, and this is an engine"
            )
        found = await self._list([f"{EVENT_LABEL}={plan.origin.event_id}"])
        if found:
            name = name_in(found[0])
            if found[0].get("State") == "created":
                await self._begin(name)
            return Started(name.removesuffix(REPORTED), str(found[0].get("Id", "")), "")
        if plan.pull_policy == "Always":
            await pull(self._api, plan.image, seconds=self._pull_seconds)
        uid = await self._create(plan)
        await self._begin(plan.name)
        return Started(plan.name, uid, "")

    async def _create(self, plan: Plan) -> str:
        """Create a container; one of that name is another run's of the same command."""
        body = create_body(plan, self._ceilings)
        for tries_left in (1, 0):
            try:
                made = await self._api.call(
                    "create", "POST", "/containers/create", params={"name": plan.name}, body=body
                )
            except BackendError as error:
                if error.status == 409:
                    return ""
                if error.status == 404 and tries_left:
                    if plan.pull_policy == "Never":
                        text = f"image '{plan.image}' is not there, and may not be pulled"
                        raise NotStarted("failed_image_pull", text) from error
                    await pull(self._api, plan.image, seconds=self._pull_seconds)
                    continue
                raise
            return str(made.get("Id", "")) if isinstance(made, dict) else ""
        return ""

    async def _begin(self, name: str) -> None:
        """Start a container; one that can't be started is removed.

        Raises:
            NotStarted: the engine says why.
        """
        try:
            await self._api.call("start", "POST", f"/containers/{name}/start")
        except BackendError as error:
            if error.status is None:
                raise
            await self._delete(name)
            raise NotStarted("failed", str(error)) from error

    async def follow(self, see: See, see_all: SeeAll) -> None:
        """Listen first and list then, so that nothing happens between the two unseen."""
        asked_at = time()
        filters = orjson.dumps({"type": ["container"], "label": self._labels}).decode()
        async with self._api.lines(
            "events", "GET", "/events", params={"filters": filters}, seconds=0
        ) as events:
            see_all(await self.found(), asked_at)
            async for event in events:
                sighting = sighting_in(event)
                if sighting is not None:
                    see(sighting)
        raise BackendError("the engine has ended its events")

    async def found(self) -> list[Sighting]:
        """List the pool's containers; the end of one is looked up when it is its turn."""
        return [listed(one) for one in await self._list(self._labels)]

    async def _list(self, labels: list[str]) -> list[JsonObject]:
        filters = orjson.dumps({"label": labels}).decode()
        params = {"all": "1", "filters": filters}
        found = await self._api.call("list", "GET", "/containers/json", params=params)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    async def ending(self, sighting: Sighting) -> Ending | None:
        """Read how a container ended, and the end of its output."""
        try:
            path = f"/containers/{sighting.name}/json"
            shown = await self._api.call("inspect", "GET", path)
        except BackendError as error:
            if error.status == 404:
                return None
            raise
        state = shown.get("State") if isinstance(shown, dict) else None
        if not isinstance(shown, dict) or not isinstance(state, dict):
            raise BackendError(f"the engine tells nothing about {sighting.name}")
        if state.get("Status") not in ENDED:
            return None
        labels = labels_in(shown)
        origin = origin_of(labels)
        if origin is None:
            return None
        text, is_cut = "", False
        if self._log_bytes:
            text, is_cut = await self._api.tail(
                sighting.name, most=self._log_bytes, lines=_MOST_LINES
            )
        return replace(
            ended(sighting.name, state, labels, origin, created=shown.get("Created")),
            uid=str(shown.get("Id", "")) or None,
            logs=masked(text, hidden_values(shown, labels)),
            logs_truncated=is_cut,
        )

    async def settle(self, ending: Ending) -> Sighting | None:
        """Give a container its other name, which every worker can see."""
        name = f"{ending.name}{REPORTED}"
        rename = self._api.call(
            "rename", "POST", f"/containers/{ending.name}/rename", params={"name": name}
        )
        if not await _unless_gone(rename):
            return None
        return Sighting(
            name=ending.name,
            condition=Condition.REPORTED,
            event_id=ending.origin.event_id,
            at=time(),
            remove_at=time() + (ending.ttl_seconds or 0.0),
        )

    async def expire(self, name: str) -> None:
        """Kill a container."""
        await _unless_gone(self._api.call("kill", "POST", f"/containers/{name}/kill"))

    async def remove(self, sighting: Sighting) -> None:
        """Remove a container and its anonymous volumes."""
        is_reported = sighting.condition is Condition.REPORTED
        await self._delete(f"{sighting.name}{REPORTED}" if is_reported else sighting.name)

    async def discard(self, plan: Plan) -> None:
        """Remove the container of a plan."""
        await self._delete(plan.name)

    async def _delete(self, name: str) -> None:
        params = {"force": "1", "v": "1"}
        await _unless_gone(self._api.call("delete", "DELETE", f"/containers/{name}", params=params))


async def _unless_gone(call: Awaitable[Json]) -> bool:
    """Do something with a container that may be gone, ended or about to go already."""
    try:
        await call
    except BackendError as error:
        if error.status not in {404, 409}:
            raise
        return False
    return True
