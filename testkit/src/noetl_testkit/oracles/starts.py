"""Answers to starts against the log: accepted means there, refused means not there."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noetl_testkit.oracles.findings import Findings

if TYPE_CHECKING:
    from noetl_testkit.oracles.findings import Connection

_TOKENS = """
SELECT execution_id, context -> 'workload' ->> 'token' AS token FROM noetl.event
WHERE position = 1 AND parent_execution_id IS NULL AND context -> 'workload' ? 'token'
"""


@dataclass
class Starts:
    """Answers to starts, each with a token of its own in its workload (``token``).

    Attributes:
        accepted: executions by token, of answers with 200; of a start that was sent again with the
            same key, all of them.
        not_started: tokens of starts that were answered with 503 only, which means not started.
        unknown: how often no answer came, and other refusals, by reason.
    """

    accepted: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    not_started: set[str] = field(default_factory=set)
    unknown: Counter[str] = field(default_factory=Counter)

    def accept(self, token: str, execution_id: int) -> None:
        """Note an answer with 200."""
        self.accepted[token].add(execution_id)
        self.not_started.discard(token)

    def refuse(self, token: str, reason: str, *, may_have_begun: bool) -> None:
        """Note another answer, or none."""
        self.unknown[reason] += 1
        if may_have_begun or token in self.accepted:
            self.not_started.discard(token)
        else:
            self.not_started.add(token)

    @property
    def executions(self) -> set[int]:
        """All that were accepted."""
        return {one for several in self.accepted.values() for one in several}


async def check_starts(connections: "list[Connection]", starts: Starts, findings: Findings) -> None:
    """Find accepted starts that are not in the log, refused ones that are, and doubled ones.

    Args:
        connections: to the databases of all shards.
        starts: the answers.
        findings: gets the problems.
    """
    logged: defaultdict[str, set[int]] = defaultdict(set)
    for connection in connections:
        for row in await connection.fetch(_TOKENS):
            logged[row["token"]].add(row["execution_id"])
    for token, answered in starts.accepted.items():
        made = logged.get(token, set())
        if len(answered) > 1:
            findings.problems.append(f"start {token}: answered with {sorted(answered)}")
        if missing := answered - made:
            findings.problems.append(
                f"start {token}: accepted as {sorted(missing)}, not in the log"
            )
    findings.problems += [
        f"start {token}: made {len(made)} executions: {sorted(made)}"
        for token, made in logged.items()
        if len(made) > 1
    ]
    findings.problems += [
        f"start {token}: refused with 503, and there is {sorted(logged[token])}"
        for token in starts.not_started & logged.keys()
    ]


__all__ = ["Starts", "check_starts"]
