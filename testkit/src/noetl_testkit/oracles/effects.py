"""Runs of tools by their effects: each writes a line, which is compared with the log."""

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from noetl_contract.json import Json, JsonObject

from noetl_testkit.oracles.findings import TERMINAL, Findings
from noetl_testkit.web import Request, Response, serving

if TYPE_CHECKING:
    import asyncpg

    from noetl_testkit.oracles.findings import Connection

GRACE_SECONDS = 0.2
"""How long after its execution's end, or a cancel's answer, a tool may begin: it was on its way."""

_OUTCOMES = """
SELECT e.execution_id, e.node_name AS step, c.iter_index AS index,
       COALESCE(e.meta ->> 'command_id', e.result -> 'context' ->> 'command_id') AS command_id,
       jsonb_path_query_first(e.result, '$.**.gave') #>> '{}' AS gave
FROM noetl.event AS e
LEFT JOIN noetl.command AS c
    ON c.execution_id = e.execution_id
    AND c.event_id = (e.note ->> 'command')::bigint
WHERE e.execution_id = ANY($1::bigint[]) AND e.event_type = 'call.done'
  AND e.meta ->> 'late' IS DISTINCT FROM 'true'
ORDER BY e.execution_id, e.position
"""
_TOLD = """
SELECT e.execution_id, e.node_name AS step, c.iter_index AS index,
       count(*) FILTER (WHERE e.event_type = 'command.claimed') AS claims,
       min(extract(EPOCH FROM e.ingest_time))
           FILTER (WHERE e.event_type IN ('command.started', 'call.done'))::float8 AS told
FROM noetl.event AS e
INNER JOIN noetl.command AS c
    ON c.execution_id = e.execution_id AND c.event_id = (e.note ->> 'command')::bigint
WHERE e.execution_id = ANY($1::bigint[])
  AND e.event_type IN ('command.claimed', 'command.started', 'call.done')
GROUP BY e.execution_id, e.node_name, c.iter_index
"""
_ENDS = """
SELECT execution_id, extract(EPOCH FROM ingest_time)::float8 AS at FROM noetl.event
WHERE execution_id = ANY($1::bigint[]) AND event_type = ANY($2::text[])
"""

_SCRIPT = """\
import json, time, uuid
at, gave = time.time(), uuid.uuid4().hex
with open({file!r}, "a") as file:
    file.write(json.dumps({{"run": run, "at": at, "gave": gave, "saw": saw}}) + "\\n")
    file.flush()
{after}result = {{"gave": gave}}
"""
_RUN = "{{{{ execution_id }}}}/{step}/{{{{ _index | default('') }}}}/{tries}"
_FAILED = "{{ output.status == 'error' }}"
_UNTIL = """\
if open({file!r}).read().count(json.dumps(run)) < {tries}:
    raise RuntimeError("not yet")
"""


@dataclass(frozen=True)
class Effect:
    """A run of a tool.

    Attributes:
        step, index: its command: the step, and the iteration of a loop.
        tries: runs that its author asks for.
        at: Unix time of its begin.
        gave: its result, which no other run gives.
        saw: by step, the results that it was given.
    """

    execution_id: int
    step: str
    index: int | None
    tries: int
    at: float
    gave: str
    saw: Mapping[str, Json] = field(default_factory=dict)

    @property
    def command(self) -> tuple[int, str, int | None]:
        """Names its command."""
        return (self.execution_id, self.step, self.index)

    @property
    def name(self) -> str:
        """Names it for people."""
        place = "" if self.index is None else f"[{self.index}]"
        return f"{self.execution_id} {self.step}{place}"


@dataclass
class Ledger:
    """A file that tools write their runs to, and playbooks' tools that do so."""

    file: Path
    web: str = ""
    """Address of the server that notes calls; see `counting`."""

    def script(self, step: str, *, saw: Sequence[str] = (), work: str = "", tries: int = 1) -> str:
        """Return a step's ``tool`` of kind python, as YAML in braces, that notes its run.

        Args:
            step: name of the step.
            saw: steps before it whose results it is given and notes; a loop is seen as its list.
            work: statements behind the note.
            tries: so many runs it takes to succeed; the step tries again.
        """
        name = str(self.file)
        until = _UNTIL.format(file=name, tries=tries) if tries > 1 else ""
        code = _SCRIPT.format(file=name, after=f"{until}{work}\n")
        tool: dict[str, Json] = {
            "name": "run",
            "kind": "python",
            "input": {"run": _RUN.format(step=step, tries=tries), "saw": _given(saw)},
            "code": code,
        }
        if tries > 1:
            rule = {"do": "retry", "attempts": tries + 3, "delay": 0.1}
            tool["spec"] = {"policy": {"rules": [{"when": _FAILED, "then": rule}]}}
        return json.dumps(tool if tries == 1 else [tool])

    def call(self, step: str, *, saw: Sequence[str] = ()) -> str:
        """Return a step's ``tool`` of kind http that calls the counting server."""
        body = {"run": _RUN.format(step=step, tries=1), "saw": _given(saw)}
        return json.dumps(
            {"kind": "http", "method": "POST", "url": f"{self.web}/run", "body": body}
        )

    def effects(self) -> list[Effect]:
        """Return the runs in the order of their begin."""
        if not self.file.exists():
            return []
        found = []
        for line in self.file.read_text().splitlines():
            noted = json.loads(line)
            number, step, index, tries = str(noted["run"]).split("/")
            place = int(index) if index else None
            found.append(
                Effect(
                    *(int(number), step, place, int(tries)),
                    *(noted["at"], noted["gave"], noted["saw"]),
                )
            )
        return sorted(found, key=lambda one: one.at)

    def note(self, request: Request) -> Response:
        """Answer a call of the counting server: note it, and give it a result."""
        at, gave = time.time(), secrets.token_hex(16)
        body = cast("JsonObject", request.json)
        line = {"run": body["run"], "at": at, "gave": gave, "saw": body["saw"]}
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return Response({"gave": gave})


@contextmanager
def counting(file: Path) -> Iterator[Ledger]:
    """Yield a ledger whose server notes calls for the length of the block."""
    ledger = Ledger(file)
    with serving(ledger.note) as server:
        ledger.web = server.url
        yield ledger


def _given(steps: Sequence[str]) -> Json:
    return {step: f"{{{{ {step} }}}}" for step in steps}


def results_in(value: Json) -> list[str]:
    """Return the results of noted runs in a value, in their order, each once."""
    return list(dict.fromkeys(_results_in(value)))


def _results_in(value: Json) -> list[str]:
    if isinstance(value, Mapping):
        if isinstance(gave := value.get("gave"), str):
            return [gave]
        return [one for part in value.values() for one in _results_in(part)]
    if isinstance(value, str) or not isinstance(value, Sequence):
        return []
    return [one for part in value for one in _results_in(part)]


async def check_effects(
    connection: "Connection",
    effects: Sequence[Effect],
    execution_ids: Sequence[int],
    findings: Findings,
    *,
    cancelled: Mapping[int, float] | None = None,
    may_repeat: bool = False,
) -> None:
    """Compare the runs of tools with the log.

    Finds outcomes whose tool never ran, runs behind the first that have no stated reason, runs that
    began after the end of their execution, and values that are not those of the log.

    A reason is a further claim in the log, or, where no worker had yet said that it began, a
    notification that was delivered twice; where nothing was done to workers or broker
    (`may_repeat` False) none is accepted.

    Args:
        connection: to the shard's database.
        effects: of all tools of these executions that note their runs.
        execution_ids: the executions.
        findings: gets figures and problems.
        cancelled: Unix times of the answers to cancels, by execution.
        may_repeat: whether workers were killed or frozen, or the broker's messages doubled.
    """
    ids = list(execution_ids)
    outcomes = await connection.fetch(_OUTCOMES, ids)
    told = {
        (row["execution_id"], row["step"], row["index"]): row
        for row in await connection.fetch(_TOLD, ids)
    }
    findings.effects += len(effects)
    _check_never(outcomes, effects, findings)
    _check_repeated(effects, told, findings, may_repeat=may_repeat)
    ends = {
        row["execution_id"]: row["at"] for row in await connection.fetch(_ENDS, ids, list(TERMINAL))
    }
    for one in effects:
        over = max(
            (cancelled or {}).get(one.execution_id, 0.0), ends.get(one.execution_id, float("inf"))
        )
        if one.at > over + GRACE_SECONDS:
            findings.late_runs += 1
            findings.problems.append(f"{one.name}: ran {one.at - over:.2f} s after the end")
    _check_values(outcomes, effects, findings)


def _check_never(
    outcomes: Sequence["asyncpg.Record"], effects: Sequence[Effect], findings: Findings
) -> None:
    ran = {one.gave for one in effects}
    for row in outcomes:
        place = f"{row['execution_id']} {row['step']}"
        if row["gave"] is not None and row["gave"] not in ran:
            findings.problems.append(f"{place}: has an outcome, but its tool never ran")


def _check_repeated(
    effects: Sequence[Effect],
    told: Mapping[tuple[int, str, int | None], "asyncpg.Record"],
    findings: Findings,
    *,
    may_repeat: bool,
) -> None:
    runs: defaultdict[tuple[int, str, int | None], list[Effect]] = defaultdict(list)
    for one in effects:
        runs[one.command].append(one)
    for command, several in runs.items():
        more = len(several) - several[0].tries
        if more <= 0:
            continue
        row = told.get(command)
        claims = 0 if row is None else row["claims"]
        first, last = several[0], several[-1]
        findings.twice += more
        text = f"{first.name}: ran {len(several)} times, {last.at - first.at:.2f} s apart"
        if claims > more:
            if not may_repeat:
                findings.problems.append(f"{text}, {claims} claims, without a fault at workers")
            continue
        findings.untold += more - max(0, claims - 1)
        is_known = row is not None and row["told"] is not None and row["told"] < last.at
        if is_known:
            findings.problems.append(f"{text}, although the log had its first run")
        elif not may_repeat:
            findings.problems.append(f"{text}, {claims} claims, without a fault at workers")


def _check_values(
    outcomes: Sequence["asyncpg.Record"], effects: Sequence[Effect], findings: Findings
) -> None:
    logged: defaultdict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
    for row in outcomes:
        if row["gave"] is not None:
            logged[row["execution_id"], row["step"]].append((row["index"] or 0, row["gave"]))
    for one in effects:
        for step, value in one.saw.items():
            expected = [gave for _, gave in sorted(logged[one.execution_id, step])]
            if results_in(value) != expected:
                findings.problems.append(
                    f"{one.name}: saw {results_in(value)} of {step}, the log has {expected}"
                )


__all__ = ["GRACE_SECONDS", "Effect", "Ledger", "check_effects", "counting", "results_in"]
