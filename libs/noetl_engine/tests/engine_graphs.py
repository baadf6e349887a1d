"""Random graphs in two forms: as the routing model takes them, and as playbooks."""

import random
from typing import Any

from engine_driver import make_arc, make_loop, make_playbook, make_step


class RandomGraph:
    """A graph in two forms: the model's, and a playbook whose guards say the same."""

    def __init__(self, rng: random.Random, *, cyclic: bool, fails: bool) -> None:
        self.rng = rng
        count = rng.randint(3, 9)
        self.names = ["start", *(f"s{i}" for i in range(1, count))]
        self.loops: dict[str, Any] = {}
        self.when: dict[str, Any] = {}
        self.mode: dict[str, str] = {}
        self.arcs: dict[str, list[tuple[str, Any]]] = {}
        self.guards: dict[str, list[Any]] = {}
        self.step_guards: dict[str, Any] = {}
        for name in self.names:
            if rng.random() < 0.2:
                size = rng.randint(0, 3)
                self.loops[name] = size if rng.random() < 0.5 else ("seq", size)
        for index, name in enumerate(self.names):
            self._add_arcs(name, index, cyclic=cyclic)
            if index and rng.random() < 0.15:
                self._add_guard(name)
        self.fail = self._failures() if fails else {}

    def _add_arcs(self, name: str, index: int, *, cyclic: bool) -> None:
        rng = self.rng
        later = self.names[index + 1 :]
        self.mode[name] = rng.choice(["exclusive", "inclusive"])
        self.arcs[name], self.guards[name] = [], []
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3]) if index else rng.randint(1, 3)):
            back = cyclic and rng.random() < 0.35
            choices = self.names if back else later
            if not choices:
                continue
            target = rng.choice(choices)
            limit = rng.randint(1, 3)
            if back or (rng.random() < 0.3 and name not in self.loops):
                if name in self.loops:
                    if back:
                        continue
                    condition, guard = True, None
                else:
                    condition = lambda visits, limit=limit: visits < limit  # noqa: E731
                    guard = f"({name}.n | default(0)) < {limit}"
                self.arcs[name].append((target, condition))
                self.guards[name].append(guard)
            else:
                condition = rng.random() < 0.7
                self.arcs[name].append((target, condition))
                self.guards[name].append(None if condition and rng.random() < 0.5 else condition)

    def _add_guard(self, name: str) -> None:
        if name in self.loops or self.rng.random() < 0.6:
            self.when[name] = self.step_guards[name] = False
        else:
            limit = self.rng.randint(2, 3)
            self.when[name] = lambda visits: visits < limit
            self.step_guards[name] = f"({name}.n | default(0)) + 1 < {limit}"

    def _failures(self) -> dict[Any, bool]:
        name = self.rng.choice(self.names)
        size = self.loops.get(name)
        if size is None:
            return {name: True}
        count = size[1] if isinstance(size, tuple) else size
        return {(name, self.rng.randrange(count)): True} if count else {}

    def playbook(self) -> Any:
        steps = []
        for name in self.names:
            size = self.loops.get(name)
            loop = None
            if size is not None:
                count, mode = (
                    (size[1], "sequential") if isinstance(size, tuple) else (size, "parallel")
                )
                loop = make_loop([str(i) for i in range(count)], mode)
            arcs = [
                make_arc(target, guard)
                for (target, _), guard in zip(self.arcs[name], self.guards[name], strict=True)
            ]
            guard = self.step_guards.get(name)
            when = str(guard).lower() if isinstance(guard, bool) else guard
            steps.append(make_step(name, *arcs, mode=self.mode[name], loop=loop, when=when))
        return make_playbook(*steps)
