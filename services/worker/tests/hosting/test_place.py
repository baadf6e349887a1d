"""Place for directories of scripts: a shared one is refused by name."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from noetl_worker.hosting.place import NoPlaceForScripts, place_for_scripts
from noetl_worker.settings import Settings


def place(named: Path | str = "", **settings: Any) -> Path:
    given = {"worker_script_write_paths": (), "worker_script_directory": str(named)}
    return place_for_scripts(Settings(**(given | settings)))


def why_not(named: Path | str = "", **settings: Any) -> str:
    with pytest.raises(NoPlaceForScripts) as caught:
        place(named, **settings)
    assert "NOETL_WORKER_SCRIPT_DIRECTORY" in str(caught.value)
    return str(caught.value)


def test_the_named_folder_is_taken(tmp_path: Path) -> None:
    assert place(tmp_path) == tmp_path.resolve()


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("worker_script_write_paths", "NOETL_WORKER_SCRIPT_WRITE_PATHS"),
        ("worker_script_read_paths", "NOETL_WORKER_SCRIPT_READ_PATHS"),
        ("worker_duckdb_paths", "NOETL_WORKER_DUCKDB_PATHS"),
    ],
)
def test_a_folder_below_what_all_reach_is_refused(tmp_path: Path, setting: str, name: str) -> None:
    own = tmp_path / "shared" / "own"
    own.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    shared = tmp_path / "shared"

    for given in (
        shared,
        own,
        f"{own}/",
        f"{own}/../own",
        tmp_path / "link",
        f"/proc/self/root{shared}",
        f"{tmp_path}/./shared",
        "/",
    ):
        error = why_not(own, **{setting: ("/nowhere", str(given))})
        assert name in error
        assert str(own) in error
    assert why_not(tmp_path / "link" / "own", **{setting: (str(shared),)})
    # Beside it, or above.
    assert place(own, **{setting: (f"{shared}/other", f"{shared}/ow")}) == own.resolve()


def test_the_first_place_that_nobody_shares_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert place() == tmp_path.resolve()
    assert place(worker_script_write_paths=(str(tmp_path), "/dev/shm")) == Path("/var/tmp")  # noqa: S108


def test_without_such_a_place_each_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shared = (str(tmp_path), "/dev/shm")  # noqa: S108  compared

    error = why_not(worker_script_write_paths=shared, worker_duckdb_paths=("/var/tmp",))  # noqa: S108

    for text in (
        f"{tmp_path} is below {tmp_path}, which all scripts may change",
        "/dev/shm is below",  # noqa: S108  compared
        "/var/tmp is below /var/tmp, which queries of DuckDB may change",  # noqa: S108
    ):
        assert text in error


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert "is no directory" in why_not(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert "which all scripts may read" in why_not("/usr")


def test_what_nobody_is_kept_from_is_no_matter(tmp_path: Path) -> None:
    shared = {
        "worker_script_write_paths": (str(tmp_path),),
        "worker_duckdb_paths": (str(tmp_path),),
    }

    assert place(tmp_path, worker_script_isolated=False, worker_duckdb_external=True, **shared) == (
        tmp_path.resolve()
    )
