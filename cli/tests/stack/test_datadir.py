"""A data directory: held once, its state and its identity."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import DataDirectoryInUseError, StackError


def test_a_directory_can_be_held_once(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    with data.hold():
        held = data.is_held()
        with pytest.raises(DataDirectoryInUseError), DataDirectory(tmp_path / "data").hold():
            pass

    assert held
    assert not data.is_held()


def test_who_looks_at_a_directory_keeps_nobody_from_holding_it(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    with data.hold():
        pass
    with ThreadPoolExecutor() as pool:
        looks = pool.submit(lambda: [data.is_held() for _ in range(20_000)])
        while not looks.done():
            with data.hold():
                pass

    assert False in looks.result()


def test_the_state_of_a_killed_stack_is_not_that_of_the_next(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    killed = {"url": "http://it", "services": [{"name": "it", "state": "ready"}]}
    with data.hold():
        data.save_state(killed)

    with data.hold():
        assert (data.state(), data.last_state()) == (None, killed)
    with data.hold():
        assert data.last_state() == killed


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": "x", "colour": "red"}', "{"])
def test_an_identity_of_another_version_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "identity.json"
    path.write_text(text)

    with pytest.raises(StackError, match=str(path)):
        DataDirectory(tmp_path).identity()


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_state_that_a_power_cut_left_stops_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)

    assert DataDirectory(tmp_path).state() is None
