"""Random graphs: the engine's log equals that of the contract's routing model.

The model stands beside the checkout as contract material; without it these tests are skipped.
``--graphs N`` sets how many graphs of each kind are tried.
"""

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
from engine_driver import Run, make_arc, make_loop, make_playbook, make_step
from noetl_engine.inputs import Limits

MODEL = Path(__file__).parents[4] / "shared" / "models" / "routing.py"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not MODEL.exists(), reason="the contract material is not there"),
]

ROUNDS = 60


@pytest.fixture(scope="module")
def model() -> Any:
    spec = importlib.util.spec_from_file_location("routing_model", MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def normal(log: list[str]) -> list[str]:
    """Between two outcomes: engine rows in order, then commands, as the engine writes them."""
    result: list[str] = []
    moves: list[str] = []
    issued: list[str] = []
    for word in [*log, "W(end of log)"]:
        if word.startswith(("W(", "F(")):
            result += moves + issued + [word]
            moves, issued = [], []
        elif word.startswith("I("):
            issued.append(word)
        elif not word.startswith(("(release", "chainstop")):
            (issued if word.startswith("playbook.") else moves).append(word.removesuffix("(loop)"))
    return result[:-1]


def compare(model: Any, seed: int, *, cyclic: bool, fails: bool) -> None:
    rng = random.Random(seed)  # noqa: S311 - reproducible graphs
    graph = RandomGraph(rng, cyclic=cyclic, fails=fails)
    oracle = (
        model.Sim(
            model.Graph(graph.names, graph.arcs, graph.mode, graph.loops, graph.when),
            fail=graph.fail,
            rng=rng,
            order=rng.choice(["fifo", "lifo", "random"]),
            maxrounds=ROUNDS,
        )
        if graph.loops.get("start") not in (0, ("seq", 0))
        else None
    )
    if oracle is None:
        return  # the model starts no empty loop
    oracle.inline = []
    oracle.run()
    labels = [word for word in oracle.log if word.startswith(("W(", "F("))]
    visits: dict[str, int] = {}
    run = Run(graph.playbook(), limits=Limits(rounds_per_decision=50)).start()
    for word in labels:
        label = word[2:-1]
        visits[label] = visits.get(label, 0) + 1
        run.work(label, fails=word.startswith("F("), data={"n": visits[label]})
        check_plan(run)
    expected, got = normal(oracle.log), normal(run.log)
    assert expected == got, f"seed {seed}"
    assert len(run.ended) == (oracle.term != "cut")


def check_plan(run: Run) -> None:
    """The state kept equals the fold of the log."""
    replayed = type(run.execution).restore(run.execution.execution_id, None, run.rows)
    assert replayed.snapshot() == run.execution.snapshot()


@pytest.mark.parametrize("fails", [False, True], ids=["all succeed", "one fails"])
@pytest.mark.parametrize("cyclic", [False, True], ids=["acyclic", "cyclic"])
def test_random_graphs_route_as_the_model_does(
    model: Any, graph_count: int, *, cyclic: bool, fails: bool
) -> None:
    for seed in range(graph_count):
        compare(model, seed, cyclic=cyclic, fails=fails)
