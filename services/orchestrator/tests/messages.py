"""Messages of edge and worker, as tests send them."""

from dataclasses import dataclass

from noetl_common.ids import SnowflakeIds
from noetl_contract.json import Json, JsonObject

from services.orchestrator.tests.playbooks import LINEAR


@dataclass(frozen=True)
class Command:
    """A command as its notification names it."""

    execution_id: int
    event_id: int
    command_id: str
    step: str


@dataclass
class Messages:
    """Builds messages under fresh ids."""

    ids: SnowflakeIds
    playbooks: dict[int, str]

    def start_message(
        self, playbook: str = LINEAR, *, execution_id: int | None = None, **fields: Json
    ) -> JsonObject:
        """Return a start of a playbook text."""
        catalog_id = next(
            (known for known, text in self.playbooks.items() if text == playbook), None
        )
        if catalog_id is None:
            catalog_id = self.ids.next()
            self.playbooks[catalog_id] = playbook
        return {
            "type": "execute",
            "execution_id": execution_id or self.ids.next(),
            "catalog_id": catalog_id,
            "path": "tests/playbook",
            "version": 1,
            **fields,
        }

    def fast(
        self,
        command: Command,
        kind: str = "command.outcome",
        *,
        worker: str = "w1",
        instance: str = "i1",
        attempts: int = 0,
        data: Json = None,
        event_ids: tuple[int, ...] | None = None,
        fence: str | None = None,
    ) -> JsonObject:
        """Return a fast-path message about a command."""
        ids = event_ids or tuple(self.ids.next() for _ in range(3))
        meta = {"attempts": attempts, "command_id": command.command_id}
        about = {"command_id": command.command_id}
        done = {**about, "call_index": 0, "result": {"status": "success", "context": data}}
        events = [
            ("command.started", "STARTED", about),
            ("call.done", "COMPLETED", done),
            ("command.completed", "success", {**about, "status": "success"}),
        ]
        if kind == "command.start":
            events = events[:1]
        return {
            "type": kind,
            "execution_id": command.execution_id,
            "hold": {
                "event_id": command.event_id,
                "command_id": command.command_id,
                "step": command.step,
                "attempts": attempts,
                "worker_id": worker,
                "instance": instance,
                "fence": fence,
            },
            "events": [
                {
                    "event_type": event_type,
                    "step": command.step,
                    "event_id": event_id,
                    "status": status,
                    "context": context,
                    "meta": meta,
                    "worker_id": worker,
                    "created_at": "2026-06-15T09:18:22.901Z",
                }
                for event_id, (event_type, status, context) in zip(ids, events, strict=False)
            ],
        }

    def event(
        self,
        command: Command,
        event_type: str,
        *,
        worker: str = "w1",
        event_id: int | None = None,
        attempts: int | None = None,
        context: Json = None,
    ) -> JsonObject:
        """Return an HTTP event about a command."""
        about = {"command_id": command.command_id, **(context or {})}
        meta = {} if attempts is None else {"attempts": attempts}
        return {
            "type": "events",
            "execution_id": command.execution_id,
            "events": [
                {
                    "event_type": event_type,
                    "step": command.step,
                    "event_id": event_id or self.ids.next(),
                    "context": about,
                    "meta": meta,
                    "worker_id": worker,
                }
            ],
        }
