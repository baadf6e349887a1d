"""Paused paths and pools, as the catalog has answered."""

from collections.abc import Iterable

from noetl_contract.http.workers.pauses import PauseTarget


class Pauses:
    """The newest answer; it holds while the catalog is away.

    Attributes:
        lifted: whether something was taken back since `take_lifted` was called.
    """

    def __init__(self) -> None:
        self.paths: frozenset[str] = frozenset()
        self.pools: frozenset[str] = frozenset()
        self._lifted: set[PauseTarget] = set()

    def update(self, pauses: Iterable[PauseTarget]) -> None:
        """Replace the pauses by those in force now."""
        paused = list(pauses)
        paths = frozenset(one.name for one in paused if one.kind == "path")
        pools = frozenset(one.name for one in paused if one.kind == "pool")
        self._lifted |= {PauseTarget(kind="path", name=name) for name in self.paths - paths}
        self._lifted |= {PauseTarget(kind="pool", name=name) for name in self.pools - pools}
        self.paths, self.pools = paths, pools

    def withholds(self, *, path: str, pool: str) -> bool:
        """Return whether a command is withheld."""
        if pool in self.pools:
            return True
        return bool(self.paths) and any(
            path == name or path.startswith(f"{name}/") for name in self.paths
        )

    def take_lifted(self) -> tuple[list[str], list[str]]:
        """Return paths and pools whose pause was lifted since the last time."""
        lifted, self._lifted = self._lifted, set()
        return (
            [one.name for one in lifted if one.kind == "path"],
            [one.name for one in lifted if one.kind == "pool"],
        )

    def give_back(self, paths: Iterable[str], pools: Iterable[str]) -> None:
        """Undo `take_lifted` for paths and pools whose commands could not be published."""
        self._lifted |= {PauseTarget(kind="path", name=name) for name in paths}
        self._lifted |= {PauseTarget(kind="pool", name=name) for name in pools}
