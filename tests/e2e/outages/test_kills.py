"""One kill of each process under load; the long version is ``make chaos``."""

import chaos
import pytest


@pytest.mark.e2e
async def test_nothing_is_lost_when_every_process_is_killed_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = await chaos.main(["--rounds", "1", "--pause", "2"])

    assert code == 0, capsys.readouterr().out[-4000:]
