"""A list of the parts of a package or image (SBOM), in the CycloneDX format.

Components are our wheels and what requirements.txt pins for them, with the licence that a package
names in its metadata. What the base image brings is not in it.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from requirements_of import entries

LICENCE = "Apache-2.0"
_LONGEST_NAME = 64  # of a licence; packages also put its whole text there


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Package or program that a list is about."""

    name: str
    version: str
    type: ComponentType
    made: datetime
    """The time of the commit."""


@dataclass(frozen=True)
class Pinned:
    """A package of the lock."""

    name: str
    version: str
    users: frozenset[str]
    """Names of the packages that need it."""


def pinned(lock: str) -> list[Pinned]:
    """Return the packages of a lock that belong on this platform."""
    found = []
    for _, text, users in entries(lock):
        required = Requirement(text.splitlines()[0].removesuffix("\\").strip())
        if required.marker is None or required.marker.evaluate():
            version = next(iter(required.specifier)).version
            found.append(Pinned(required.name, version, frozenset(users)))
    return found


def contents(subject: Subject, wheels: Iterable[Path], packages: Iterable[Pinned]) -> str:
    """Return the list as a document.

    Args:
        subject: what it is about.
        wheels: ours; each counts as needed by the subject.
        packages: the rest, each needed by those of its users that are in the list.
    """
    about = Component(
        name=subject.name,
        version=subject.version,
        type=subject.type,
        bom_ref=f"{subject.name}@{subject.version}",
        licenses=[LicenseFactory().make_from_string(LICENCE)],
    )
    bom = Bom(
        # The same list has the same number.
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"noetl:{subject.name}:{subject.version}"),
        metadata=BomMetaData(component=about, timestamp=subject.made),
    )
    known = {_name_of(wheel): _ours(wheel) for wheel in wheels}
    own = list(known.values())
    others = list(packages)
    known |= {package.name: _foreign(package) for package in others}
    for component in known.values():
        bom.components.add(component)
    _connect(bom, about, own, known, others)
    text: str = JsonV1Dot6(bom).output_as_string(indent=2)
    return text + "\n"


def _connect(
    bom: Bom,
    about: Component,
    own: list[Component],
    known: Mapping[str, Component],
    packages: Iterable[Pinned],
) -> None:
    needs: dict[str, list[Component]] = {name: [] for name in known}
    for package in packages:
        for user in package.users & set(known):
            needs[user].append(known[package.name])
    bom.register_dependency(about, own)
    for name, components in needs.items():
        bom.register_dependency(known[name], components)


def _name_of(wheel: Path) -> str:
    return wheel.name.split("-")[0].replace("_", "-")


def _ours(wheel: Path) -> Component:
    name, version = _name_of(wheel), wheel.name.split("-")[1]
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}@{version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(wheel))],
        licenses=[LicenseFactory().make_from_string(LICENCE)],
    )


def _foreign(package: Pinned) -> Component:
    link = PackageURL(type="pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(link),
        purl=link,
        licenses=_licences(package.name),
    )


def _licences(package: str) -> list[License]:
    """Return a package's own words about its licence, an expression if it has one."""
    try:
        said = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return []
    named = said.get("License-Expression") or said.get("License") or ""
    if not named or len(named) > _LONGEST_NAME:
        kinds = said.get_all("Classifier", [])
        named = next((kind.split(" :: ")[-1] for kind in kinds if kind.startswith("License")), "")
    return [LicenseFactory().make_from_string(named)] if named else []


def sha256(file: Path) -> str:
    """Return the digest of a file in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
