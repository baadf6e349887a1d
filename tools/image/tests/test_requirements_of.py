"""The part of the lock that an image gets has the requirements of its packages, and no more."""

import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from parts import SERVICES, images

from tools.image.requirements_of import entries, needed

TOP = Path(__file__).parents[3]
LOCK = (TOP / "requirements.txt").read_text()
LIBRARIES = {
    *("noetl-contract", "noetl-template", "noetl-engine", "noetl-console"),
    *("noetl-common", "noetl-bus", "noetl-pg", "noetl-service"),
}
PACKAGES = {package for image in images() for package in image.packages}
WINDOWS = {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"}


def requirements(package: str) -> list[str]:
    """Return the declared requirements of a package; ours are read from the checkout.

    An image has what the extras of its service want, too: one worker image for all sources.
    """
    for folder in ("libs", "services", "packages"):
        for name in (package.replace("-", "_"), package.removeprefix("noetl-")):
            file = TOP / folder / name / "pyproject.toml"
            if file.is_file():
                project = tomllib.loads(file.read_text())["project"]
                extras = project.get("optional-dependencies", {}).values()
                return [*project["dependencies"], *(text for extra in extras for text in extra)]
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []  # of another platform


def by_metadata(packages: set[str], platform: Mapping[str, str]) -> set[str]:
    """Follow the declared requirements of installed packages on a platform."""
    found: set[str] = set()
    waiting = [(package, frozenset[str]()) for package in packages]
    seen = set(waiting)
    while waiting:
        package, extras = waiting.pop()
        for text in requirements(package):
            required = Requirement(text)
            if required.marker is not None and not any(
                required.marker.evaluate({**platform, "extra": extra}) for extra in {"", *extras}
            ):
                continue
            name = canonicalize_name(required.name)
            found.add(name)
            entry = (name, frozenset(required.extras))
            if entry not in seen:
                seen.add(entry)
                waiting.append(entry)
    return {name for name in found if not name.startswith("noetl")}


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_gets_what_its_service_requires(service: str) -> None:
    packages = {*LIBRARIES, f"noetl-{service}"}
    named = {name for name, _, _ in entries("\n".join(needed(LOCK, packages)))}
    installed = {canonicalize_name(found.name) for found in metadata.distributions()}

    # The lock is for all platforms; what another one wants besides does no harm.
    assert by_metadata(packages, {}) <= named
    assert named & installed <= by_metadata(packages, {}) | by_metadata(packages, WINDOWS)
    assert not {"pytest", "mypy", "ruff"} & named


@pytest.mark.parametrize(
    "package", sorted({*LIBRARIES, *PACKAGES, *(f"noetl-{one}" for one in SERVICES)})
)
def test_the_lock_knows_who_of_ours_requires_what(package: str) -> None:
    """A package that a lock was not written for would be missing in an image."""
    required = {canonicalize_name(Requirement(text).name) for text in requirements(package)}
    named = {name for name, _, users in entries(LOCK) if package in users}

    assert {name for name in required if not name.startswith("noetl")} <= named


def test_what_is_left_out_takes_along_what_it_alone_needs() -> None:
    named = {name for name, _, _ in entries("\n".join(needed(LOCK, {"noetl-worker"})))}
    fewer = needed(LOCK, {"noetl-worker"}, without=frozenset({"aiokafka"}))

    assert {name for name, _, _ in entries("\n".join(fewer))} < named - {"aiokafka"}


def test_every_entry_has_a_hash() -> None:
    assert all("--hash=sha256:" in text for text in needed(LOCK, {*LIBRARIES, "noetl-worker"}))
