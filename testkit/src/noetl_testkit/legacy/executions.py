"""Executions of the stand-in: each has one command, and ends with it or by a cancel."""

from collections.abc import Iterator

from noetl_contract.json import Json, JsonObject

from noetl_testkit.legacy.answers import now, refused
from noetl_testkit.legacy.stored import Documents, MakesIds, Route
from noetl_testkit.web import Request, Response

_ENDED = {
    "playbook.completed": "COMPLETED",
    "playbook.failed": "FAILED",
    "playbook_cancelled": "CANCELLED",
}


class Executions:
    """Runs that workers carry on by claims and events."""

    def __init__(self, ids: MakesIds, documents: Documents) -> None:
        self._ids = ids
        self._documents = documents
        self._known: dict[int, JsonObject] = {}
        self._commands: dict[int, int] = {}

    def routes(self) -> Iterator[Route]:
        """Return its routes."""
        one = r"/api/executions/(?P<number>\d+)"
        yield "POST", "/api/execute", self._execute
        yield "GET", "/api/executions", self._list
        yield "GET", one, self._detail
        yield "GET", f"{one}/status", self._status
        yield "GET", f"{one}/cancellation-check", self._check
        yield "POST", f"{one}/cancel", self._cancel
        yield "GET", r"/api/commands/(?P<number>\d+)", self._command
        yield "POST", r"/api/commands/(?P<number>\d+)/claim", self._claim
        yield "POST", "/api/events", self._event

    def _execute(self, request: Request) -> Response:
        path = request.json.get("path")
        entry = self._documents.newest(str(path))
        if entry is None:
            return refused(404, f"Playbook not found: {path}")
        number = self._ids.next()
        workload = {**(entry["payload"] or {}), **(request.json.get("workload") or {})}
        self._known[number] = {
            "execution_id": number,
            "catalog_id": int(entry["catalog_id"]),
            "path": path,
            "started_at": now(),
            "parent_execution_id": request.json.get("parent_execution_id"),
            "workload": workload,
            "events": [],
        }
        self._append(number, "playbook_started", str(path), "STARTED")
        issued = self._append(number, "command.issued", "start", "PENDING")
        self._commands[issued] = number
        return Response({"execution_id": str(number), "status": "started", "commands_generated": 1})

    def _append(self, number: int, kind: str, node: str, status: str, **fields: Json) -> int:
        event_id = int(fields.pop("event_id", None) or self._ids.next())
        row = {"event_id": event_id, "event_type": kind, "node_name": node, "status": status,
               "created_at": now(), "result": None, "error": None, **fields}  # fmt: skip
        self._known[number]["events"].append(row)
        return event_id

    def _state(self, number: int) -> str:
        kinds = [row["event_type"] for row in self._known[number]["events"]]
        return next((_ENDED[kind] for kind in reversed(kinds) if kind in _ENDED), "RUNNING")

    def _shown(self, number: int) -> JsonObject:
        known = self._known[number]
        state, rows = self._state(number), known["events"]
        ended = rows[-1]["created_at"] if state != "RUNNING" else None
        return {**known, "status": state, "completed_at": ended}

    def _list(self, request: Request) -> Response:
        wanted = ("execution_id", "catalog_id", "path", "status", "started_at", "completed_at")
        found: list[JsonObject] = []
        for number in reversed(self._known):
            shown = self._shown(number)
            entry = {name: shown[name] for name in wanted}
            found.append({**entry, "event_count": len(shown["events"])})
        asked = request.query
        part = asked.get("path", "").lower()
        matching = [one for one in found if part in str(one["path"]).lower()]
        begin, most = int(asked.get("offset", "0")), min(int(asked.get("limit", "50")), 100)
        return Response(matching[begin : begin + most])

    def _detail(self, _request: Request, number: str) -> Response:
        if int(number) not in self._known:
            return refused(404, f"Execution not found: {number}")
        return Response(self._shown(int(number)))

    def _status(self, _request: Request, number: str) -> Response:
        if int(number) not in self._known:
            return refused(404, f"Execution not found: {number}")
        state = self._state(int(number))
        is_done = state == "COMPLETED"
        progress = {"total_steps": 1, "completed_steps": int(is_done),
                    "running_steps": int(state == "RUNNING"), "failed_steps": 0}  # fmt: skip
        return Response(
            {"execution_id": int(number), "status": state, "current_step": "start",
             "progress": progress, "is_cancelled": state == "CANCELLED"}
        )  # fmt: skip

    def _check(self, _request: Request, number: str) -> Response:
        is_known = int(number) in self._known
        cancelled = is_known and self._state(int(number)) == "CANCELLED"
        return Response({"execution_id": int(number), "is_cancelled": cancelled})

    def _cancel(self, _request: Request, number: str) -> Response:
        if int(number) not in self._known:
            return refused(404, f"Execution not found: {number}")
        state = self._state(int(number))
        if state != "RUNNING":
            return refused(422, f"Cannot cancel execution in {state} state")
        self._append(int(number), "playbook_cancelled", "playbook", "CANCELLED")
        said = "Execution cancellation requested"
        return Response({"execution_id": int(number), "message": said, "status": "cancelled"})

    def _described(self, issued: int) -> JsonObject:
        number = self._commands[issued]
        meta = {"command_id": f"{number}:start:{issued}", "attempt": 1, "max_attempts": 3}
        return {"execution_id": number, "node_id": "start", "node_name": "start",
                "action": "noop", "context": {"args": {}}, "meta": meta}  # fmt: skip

    def _command(self, _request: Request, number: str) -> Response:
        if int(number) not in self._commands:
            return refused(404, f"command.issued event not found: {number}")
        return Response(self._described(int(number)))

    def _claim(self, request: Request, number: str) -> Response:
        issued, worker = int(number), request.json["worker_id"]
        if issued not in self._commands:
            return refused(404, f"command.issued event not found: {number}")
        execution = self._commands[issued]
        rows = self._known[execution]["events"]
        claims = (row for row in rows if row["event_type"] == "command.claimed")
        holder = next((row["result"]["context"]["worker_id"] for row in claims), None)
        if holder not in {None, worker}:
            return refused(409, f"Command already claimed by {holder}")
        described = self._described(issued)
        if holder is None:
            context = {"command_id": described["meta"]["command_id"], "worker_id": worker}
            result: Json = {"status": "RUNNING", "context": context}
            self._append(execution, "command.claimed", "start", "RUNNING", result=result)
        return Response({"status": "ok", "event_id": issued, **described})

    def _event(self, request: Request) -> Response:
        body = request.json
        number, kind = int(body["execution_id"]), body.get("event_type") or body.get("name")
        if number not in self._known:
            return refused(500, 'Database error: null value in column "catalog_id"')
        known = {row["event_id"] for row in self._known[number]["events"]}
        if body.get("event_id") is not None and int(body["event_id"]) in known:
            return refused(500, "Database error: duplicate key value")
        status = body.get("status") or ("COMPLETED" if "completed" in kind else "RUNNING")
        result = {"status": status, "context": body.get("payload") or body.get("context")}
        made = self._append(
            number, kind, body["step"], status, result=result, event_id=body.get("event_id")
        )
        if kind == "command.completed":
            self._append(number, "playbook.completed", "playbook", "COMPLETED")
        return Response({"status": "ok", "event_id": made, "commands_generated": 0})
