"""Calls of the runtime to the control plane."""

from dataclasses import dataclass
from typing import Any

import orjson
import yaml
from noetl_common.logging import get_logger
from noetl_contract.json import Json, JsonObject
from noetl_contract.subscriptions.document import SubscriptionSpec
from pydantic import ValidationError

from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.sources.source import WrongSource

_log = get_logger()

_LATER = frozenset({401, 403, 408, 429})
_LONGEST_TEXT = 500


class ControlPlaneAway(Exception):
    """No answer, or none that is final."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document of kind Subscription; ``fields`` is its whole spec."""

    path: str
    spec: SubscriptionSpec
    fields: JsonObject


class Control:
    """Calls of one subscription."""

    def __init__(self, edge: Edge, path: str) -> None:
        self._edge = edge
        self._path = path
        self.subscription_id = 0

    async def read(self) -> Document:
        """Return the newest version of the document.

        Raises:
            ControlPlaneAway: later.
            WrongSource: it can't be used.
        """
        body = {"path": self._path, "version": "latest"}
        answer = await self._asked("POST", "/api/catalog/resource", body)
        try:
            tree = yaml.safe_load(str(answer.get("content") or ""))
        except yaml.YAMLError as error:
            raise WrongSource(f"{self._path} is no YAML: {error}") from error
        fields = tree.get("spec") if isinstance(tree, dict) else None
        if not isinstance(fields, dict):
            raise WrongSource(f"{self._path} has no spec")
        if fields.get("mode") == "push":
            raise WrongSource(f"{self._path} is a push subscription: its listener takes messages")
        try:
            spec = SubscriptionSpec.model_validate(fields)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise WrongSource(f"{self._path}: spec.{where}: {problem['msg']}") from error
        return Document(self._path, spec, fields)

    async def register(self) -> str:
        """Register the path, or find its open registration; return the state."""
        answer = await self._asked("POST", "/api/subscriptions/register", {"path": self._path})
        self.subscription_id = int(str(answer.get("subscription_id")))
        return str(answer.get("state"))

    async def state(self) -> str:
        """Return the state of the subscription."""
        answer = await self._asked("GET", f"/api/subscriptions/{self.subscription_id}", None)
        return str(answer.get("state"))

    async def act(self, action: str) -> None:
        """Move the subscription on."""
        await self._asked("POST", f"/api/subscriptions/{self.subscription_id}/{action}", None)

    async def note(self, event_type: str, step: str, status: str, context: JsonObject) -> None:
        """Add an event to the subscription's log; an event that can't be noted is left out."""
        body = {
            "execution_id": str(self.subscription_id),
            "step": step,
            "event_type": event_type,
            "name": event_type,
            "status": status,
            "payload": context,
            "context": context,
            "meta": {"emitter": "subscription_runtime"},
        }
        try:
            await self._asked("POST", "/api/events", body)
        except (ControlPlaneAway, WrongSource) as error:
            _log.info("subscription_not_noted", event_type=event_type, reason=str(error))

    async def post(self, path: str, body: bytes) -> tuple[int, Json]:
        """Send a request and return status and body.

        Raises:
            ControlPlaneAway: there was no answer.
        """
        try:
            status, data = await self._edge.call("POST", path, body)
        except EdgeUnreachable as error:
            raise ControlPlaneAway(str(error)) from error
        try:
            return status, orjson.loads(data)
        except orjson.JSONDecodeError:
            return status, None

    async def _asked(self, method: str, path: str, body: Json) -> dict[str, Any]:
        try:
            status, answer = await self._edge.call_json(method, path, body)
        except EdgeUnreachable as error:
            raise ControlPlaneAway(str(error)) from error
        if 200 <= status < 300 and isinstance(answer, dict):
            return answer
        text = f"{method} {path}: HTTP {status} {_said(answer)}"
        if status >= 500 or status in _LATER:
            raise ControlPlaneAway(text)
        raise WrongSource(text)


def _said(answer: Json) -> str:
    said = answer.get("error") if isinstance(answer, dict) else answer
    return str(said or "")[:_LONGEST_TEXT]
