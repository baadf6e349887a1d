"""A data directory: held once, its state and its identity."""

import json
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


def test_an_identity_gets_what_is_missing(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    known = {
        "name": "noetl-1",
        "nats_password": "n",
        "postgres_password": "p",
        "encryption_key": "e",
        "ports": {"nats": 4},
        "shards": 1,
    }
    with directory.hold():
        (directory.root / "identity.json").write_text(json.dumps(known))
        identity = directory.identity()
        users = identity.nats_passwords(["outbox"])
        roles = identity.role_passwords(["noetl_outbox"])
        directory.save_identity(identity)
        again = directory.identity()

    assert users["noetl"] == "n"
    assert again.nats_passwords(["outbox"]) == users
    assert again.role_passwords(["noetl_outbox"]) == roles
    assert (again.command_key, again.store_key) == (identity.command_key, identity.store_key)
    assert again.ports == {"nats": 4}


def test_the_data_folder_is_out_of_version_control(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    with directory.hold():
        assert (directory.root / ".gitignore").read_text() == "*\n"


def test_modes_that_a_script_has_changed_are_set_anew(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    with data.hold():
        name = data.identity().name
    identity = data.root / "identity.json"
    identity.chmod(0o000)
    data.root.chmod(0o755)

    with data.hold():
        assert data.identity().name == name
        assert (identity.stat().st_mode & 0o777, data.root.stat().st_mode & 0o777) == (0o600, 0o700)
