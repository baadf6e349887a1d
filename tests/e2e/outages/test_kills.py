"""Kills of each process under load, and the table of a run; the long version is ``make chaos``."""

import json
from pathlib import Path

import chaos
import pytest
from scenarios import SCENARIOS, USUAL

pytestmark = pytest.mark.e2e
# How long a stall is depends on the machine; whether there is one is judged by hand.
_LONG = "600"


@pytest.mark.slow
async def test_nothing_is_lost_when_every_process_is_killed_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--scenario", "kills", "--rounds", "1", "--allowance", _LONG]

    code = await chaos.main([*arguments, "--ingress", "stream"])

    assert code == 0, capsys.readouterr().out[-4000:]


@pytest.mark.slow
async def test_a_broken_promise_ends_with_1_and_is_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No execution goes on in less than no time, so each stands still for too long."""
    table = tmp_path / "table.json"
    arguments = ["--scenario", "calm", "--rounds", "1", "--allowance", "-6", "--json", str(table)]

    code = await chaos.main([*arguments, "--seed", "5", "--ingress", "direct"])

    (row,) = json.loads(table.read_text())
    assert code == 1
    found = (row["scenario"], row["ingress"], row["seed"], row["result"])
    assert found == ("calm", "direct", 5, "BROKEN")
    assert all("stood still for" in one for one in row["problems"])
    assert (row["stuck"], row["twice"], row["wrong"], row["late_runs"]) == (0, 0, 0, 0)
    assert row["executions"] >= chaos.WARM
    assert "BROKEN" in capsys.readouterr().out


async def test_a_scenario_that_is_not_there_is_named() -> None:
    with pytest.raises(SystemExit, match="no scenario is called nothing: calm"):
        await chaos.main(["--scenario", "calm,nothing"])


def test_the_usual_scenarios_are_there() -> None:
    assert set(USUAL) <= set(SCENARIOS)
