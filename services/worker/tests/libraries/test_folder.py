"""The folder of environments: holds between processes, and the removal of old ones."""

import os
from pathlib import Path

import pytest
from noetl_worker.libraries.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.prepare()
    return folder


def make(folder: Folder, name: str, *, used_at: int, size: int = 8192) -> None:
    hold = folder.begin(name)
    assert hold is not None
    place = folder.building(name) / "packages"
    place.mkdir()
    (place / "file").write_bytes(b"x" * size)
    folder.finish(name, place)
    hold.close()
    use = folder.use(name)
    assert use is not None
    use.close()
    os.utime(folder.place_of("x").parent.parent / "locks" / name, (used_at, used_at))


def names(folder: Folder) -> set[str]:
    return {place.name for place in folder.place_of("x").parent.iterdir()}


def test_what_was_not_used_for_the_longest_time_goes_first(folder: Folder) -> None:
    for number, name in enumerate(("b", "c", "a")):
        make(folder, name, used_at=number)

    removed = folder.remove_old(most_bytes=20_000)

    assert (removed, names(folder)) == (1, {"a", "c"})


def test_what_is_in_use_stays(folder: Folder) -> None:
    for number, name in enumerate(("a", "b")):
        make(folder, name, used_at=number)
    hold = folder.use("a")
    assert hold is not None

    first = folder.remove_old(most_bytes=0)
    kept = names(folder)
    hold.close()
    hold.close()
    second = folder.remove_old(most_bytes=0)

    assert (first, kept) == (1, {"a"})
    assert (second, names(folder)) == (1, set())
    assert folder.use("a") is None


def test_one_makes_it_and_nobody_uses_it_meanwhile(folder: Folder) -> None:
    hold = folder.begin("a")
    assert hold is not None

    assert folder.begin("a") is None
    assert folder.use("a") is None
    hold.close()
    make(folder, "a", used_at=1)
    users = [folder.use("a"), folder.use("a")]
    assert None not in users
    assert folder.begin("a") is None


def test_what_a_process_left_behind_goes(folder: Folder) -> None:
    left, wanted = folder.building("a"), folder.building("b")
    hold = folder.begin("b")

    folder.remove_old(most_bytes=1)

    assert hold is not None
    assert not left.exists()
    assert wanted.exists(), "somebody makes it"
