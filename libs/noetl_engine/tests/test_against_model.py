"""Random graphs: the engine's log equals that of the contract's routing model.

The model stands beside the checkout as contract material; without it these tests are skipped.
``--graphs N`` sets how many graphs of each kind are tried.
"""

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
from engine_driver import Run
from engine_graphs import RandomGraph
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
    replayed = type(run.execution).restore(run.execution.state.execution_id, None, run.rows)
    assert replayed.snapshot() == run.execution.snapshot()


@pytest.mark.parametrize("fails", [False, True], ids=["all succeed", "one fails"])
@pytest.mark.parametrize("cyclic", [False, True], ids=["acyclic", "cyclic"])
def test_random_graphs_route_as_the_model_does(
    model: Any, graph_count: int, *, cyclic: bool, fails: bool
) -> None:
    for seed in range(graph_count):
        compare(model, seed, cyclic=cyclic, fails=fails)
