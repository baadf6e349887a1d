"""`/api/pauses`: paths and pools whose commands are withheld."""

from typing import Literal

from pydantic import Field

from noetl_contract.access.principal import OnBehalf
from noetl_contract.http.moments import Rfc3339
from noetl_contract.model import Model, example

PauseKind = Literal["path", "pool"]


class PauseTarget(Model):
    """A path of playbooks, with all below it, or a worker pool."""

    model_config = example(kind="path", name="reports/nightly")

    kind: PauseKind
    name: str = Field(min_length=1, max_length=500)

    def withholds(self, *, path: str, pool: str) -> bool:
        """Return whether the pause applies to a command of a playbook's path and a pool."""
        if self.kind == "pool":
            return pool == self.name
        return path == self.name or path.startswith(f"{self.name}/")


class PauseWish(PauseTarget):
    """A path or pool to pause, with the reason."""

    model_config = example(kind="pool", name="gpu", reason="new drivers")

    reason: str | None = Field(default=None, max_length=1000)


class PausePut(PauseWish, OnBehalf):
    """A pause as the catalog gets it."""


class Pause(PauseWish):
    """A pause in force."""

    model_config = example(
        kind="pool",
        name="gpu",
        reason="new drivers",
        actor="key:ann",
        since="2026-06-15T12:00:00.123456Z",
    )

    actor: str | None
    since: Rfc3339


class PauseList(Model):
    """All pauses of paths and pools, by kind and name."""

    pauses: list[Pause]


class PauseLifted(Model):
    """Answer to the end of a pause; `lifted` is false if there was none."""

    model_config = example(lifted=True)

    lifted: bool
