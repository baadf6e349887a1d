"""Makes the files of a release, below ``dist``: ``make release``.

Wheels of all packages, the pinned requirements, the source, the chart, lists of contents (SBOM) for
the whole, for each image and for each package with a lock of its own, the images themselves where
an engine runs, the notes, and the checksums of all.
The same commit gives the same files, the images excepted.
"""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import parts
from checkout import (
    NotReadyError,
    committed_at,
    git,
    notes_of,
    refuse_changes,
    source_of,
    version_of,
)
from contents import Subject, contents, pinned, sha256
from cyclonedx.model.component import ComponentType
from engine import CommandFailedError, Engine, NoEngineError, run, running
from packing import pack
from requirements_of import needed

ROOT = Path(__file__).resolve().parents[2]
CHART = "helm/noetl"
SUMS = "SHA256SUMS"
_LOCK = "requirements.txt"
_BUILD_SECONDS = 1800.0
_TESTKIT = "noetl_testkit"
# Wheels, and files that `Release.file` names; also those of a release that stopped half-way.
_OURS = re.compile(r"noetl_[a-z_]+-[0-9].*\.whl|noetl-[0-9][^/]*|\.gitignore")


@dataclass(frozen=True, kw_only=True)
class Release:
    """Checkout and version of a release, and the folder that it is written to."""

    root: Path
    out: Path
    version: str
    made: datetime

    def file(self, ending: str) -> Path:
        """Return the path of a file of the release."""
        return self.out / f"noetl-{self.version}{ending}"


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wheels(release: Release) -> list[Path]:
    """Build the wheels with the build tools that requirements.txt pins."""
    for what in ("--all-packages", *map(str, own_locks(release.root).values())):
        build(release, what)
    (release.out / ".gitignore").unlink(missing_ok=True)
    for wheel in release.out.glob(f"{_TESTKIT}-*.whl"):
        wheel.unlink()
    return sorted(release.out.glob("*.whl"))


def build(release: Release, what: str) -> None:
    """Build wheels: of a folder, or of all packages of the workspace."""
    locked = ("--require-hashes", "--build-constraint", "requirements.txt")
    run(
        [
            *(".uv/bin/uv", "build", "--quiet", "--wheel", what, *locked),
            *("--out-dir", str(release.out)),
        ],
        timeout=_BUILD_SECONDS,
        environment={"SOURCE_DATE_EPOCH": str(int(release.made.timestamp()))},
        folder=release.root,
    )


def own_locks(root: Path) -> dict[str, Path]:
    """Return the folders of the packages with a lock of their own, by name."""
    found = sorted(root.glob(f"packages/*/{_LOCK}"))
    return {file.parent.name.replace("_", "-"): file.parent.relative_to(root) for file in found}


def requirements(release: Release, built: list[Path]) -> None:
    """Write the requirements of the wheels at run time, pinned, without developers' tools."""
    lock = (release.root / _LOCK).read_text()
    entries = needed(lock, set(parts.by_package(built)))
    release.file("-requirements.txt").write_text("\n".join(entries) + "\n")


def source(release: Release) -> None:
    """Write the files of the commit."""
    tree = f"noetl-{release.version}/"
    written = release.file(".tar")
    git(release.root, "archive", f"--prefix={tree}", f"--output={written}", "HEAD")
    with written.open("rb") as plain:
        _gzip(plain.read, release.file(".tar.gz"))
    written.unlink()


def chart(release: Release) -> None:
    """Write the chart as Helm packages it: a folder of its name, in an archive."""
    names = [Path(name).relative_to(CHART) for name in _tracked(release.root, CHART)]
    made = int(release.made.timestamp())
    try:
        pack(release.root / CHART, release.file("-chart.tgz"), names=names, made=made)
    except ValueError as error:
        raise NotReadyError(str(error)) from error


def _tracked(root: Path, folder: str) -> list[str]:
    return git(root, "ls-files", folder).splitlines()


def _gzip(read: Callable[[int], bytes], file: Path) -> None:
    # Without a name and a time inside, so that the same content is the same file.
    with file.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        while block := read(1 << 20):
            packed.write(block)


def lists(release: Release, built: list[Path]) -> None:
    """Write the lists of contents: of everything, and of each image."""
    lock = (release.root / _LOCK).read_text()
    ours = set(parts.by_package(built))
    _list(release, "", built, "\n".join(needed(lock, ours)), ComponentType.APPLICATION)
    with tempfile.TemporaryDirectory(prefix="noetl-release-") as scratch:
        parts.main(release.out, release.root / _LOCK, Path(scratch))
        for image in parts.images():
            folder = Path(scratch, image.name)
            files = sorted((folder / "wheels").iterdir())
            locked = (folder / _LOCK).read_text()
            _list(release, image.name, files, locked, ComponentType.CONTAINER)


def own_lists(release: Release, built: list[Path]) -> None:
    """Write lock and list of contents of each package with a lock of its own."""
    files = parts.by_package(built)
    for package, folder in own_locks(release.root).items():
        name = package.removeprefix("noetl-")
        lock = release.root / folder / _LOCK
        shutil.copyfile(lock, release.file(f"-{name}-{_LOCK}"))
        # What uv calls by the name of its list is what the package itself wants.
        locked = lock.read_text().replace("requirements.in", package)
        _list(release, name, [files[package]], locked, ComponentType.LIBRARY)


def _list(release: Release, part: str, files: list[Path], locked: str, kind: ComponentType) -> None:
    name = part or "noetl"
    subject = Subject(name=name, version=release.version, type=kind, made=release.made)
    gone = {unused for image in parts.images() if image.name == name for unused in image.unused}
    packages = [package for package in pinned(locked) if package.name not in gone]
    ending = f"-{part}.cdx.json" if part else ".cdx.json"
    release.file(ending).write_text(contents(subject, files, packages))


def images(release: Release, engine: Engine, base: str) -> None:
    """Build and save the images; write down what they were built from."""
    labels = {
        "BASE": base,
        "VERSION": release.version,
        "REVISION": git(release.root, "rev-parse", "HEAD"),
        "SOURCE": source_of(release.root),
    }
    given = [word for item in labels.items() for word in ("--build-arg", "=".join(item))]
    names = []
    for image in parts.images():
        name = f"noetl-{image.name}:{release.version}"
        service = ("--build-arg", f"SERVICE={image.name}")
        words = ("build", "--quiet", *given, *service, "--tag", name, str(release.root))
        engine.docker(*words, timeout=_BUILD_SECONDS)
        names.append(name)
    known = "{{range .RepoDigests}}{{.}} {{end}}"
    digests = engine.docker("image", "inspect", "--format", known, base).strip()
    lines = [f"base {digests or f'{base} (of no registry)'}"]
    for name in names:
        found = engine.docker("image", "inspect", "--format", "{{.Id}} {{.Size}}", name)
        lines.append(f"{name} {found.strip()}")
    release.file("-images.txt").write_text("\n".join(lines) + "\n")
    _save(release, engine, names)


def _save(release: Release, engine: Engine, names: list[str]) -> None:
    saving = subprocess.Popen(  # noqa: S603 -- our own command
        ["docker", "save", *names],  # noqa: S607 -- docker of the path
        stdout=subprocess.PIPE,
        env={**os.environ, **engine.environment},
    )
    if saving.stdout is None:  # never: it was asked for
        raise CommandFailedError("docker save prints nothing")
    with saving.stdout as stream:
        _gzip(stream.read, release.file("-images.tar.gz"))
    if saving.wait() != 0:
        raise CommandFailedError(f"docker save ended with {saving.returncode}")


def sums(release: Release) -> int:
    """Write the checksums as `sha256sum --check` reads them; return how many."""
    files = sorted(path for path in release.out.iterdir() if path.name != SUMS)
    lines = [f"{sha256(path)}  {path.name}\n" for path in files]
    (release.out / SUMS).write_text("".join(lines))
    return len(files)


def emptied(out: Path) -> None:
    """Make the folder of a release, or take away the release that it holds.

    Raises:
        NotReadyError: it holds something else, which is left as it is.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise NotReadyError(f"{out} is no folder")
    strange = [path.name for path in out.iterdir() if not _is_ours(path)] if out.exists() else []
    if strange:
        raise NotReadyError(f"{out} holds what no release consists of: {', '.join(strange[:5])}")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)


def _is_ours(path: Path) -> bool:
    return path.is_file() and (path.name == SUMS or _OURS.fullmatch(path.name) is not None)


def make(arguments: argparse.Namespace) -> None:
    """Make everything.

    Raises:
        NotReadyError: the checkout can't be released.
        CommandFailedError: a part can't be built.
        NoEngineError: images are required and no engine runs.
    """
    version = version_of(ROOT)
    if not arguments.with_changes:
        refuse_changes(ROOT)
    notes = notes_of((ROOT / "CHANGELOG.md").read_text(), version)
    engine, reason = _engine(arguments)
    out = arguments.out.resolve()
    emptied(out)
    release = Release(root=ROOT, out=out, version=version, made=committed_at(ROOT))
    built = wheels(release)
    say(f"{len(built)} wheels")
    requirements(release, built)
    source(release)
    chart(release)
    lists(release, built)
    own_lists(release, built)
    release.file("-notes.md").write_text(notes)
    if engine is None:
        say(f"WITHOUT IMAGES: {reason}")
    else:
        images(release, engine, arguments.base)
        say(f"{len(parts.images())} images")
    say(f"{sums(release)} files in {out}, and their checksums")


def _engine(arguments: argparse.Namespace) -> tuple[Engine | None, str]:
    if arguments.images == "no":
        return None, "not wanted"
    try:
        return running(), ""
    except NoEngineError as error:
        if arguments.images == "yes":
            raise
        return None, str(error)


def main() -> int:
    """Make it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="a new folder, or that of a release before"
    )
    parser.add_argument("--images", choices=("auto", "yes", "no"), default="auto")
    parser.add_argument(
        "--base",
        default=os.environ.get("NOETL_BASE_IMAGE", "python:3.13-slim"),
        help="of the images, best with its digest",
    )
    parser.add_argument("--with-changes", action="store_true", help="also what no commit has")
    try:
        make(parser.parse_args())
    except (NotReadyError, CommandFailedError, NoEngineError) as error:
        say(f"NOT RELEASED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
