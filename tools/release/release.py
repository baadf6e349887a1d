"""Makes what a release consists of, below ``dist``: ``make release``.

Wheels of all packages, the pinned requirements, the source, the chart, lists of contents (SBOM) for
the whole and for each image, the images themselves where an engine runs, the notes, and the
checksums of all. The same commit gives the same files, the images excepted.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tarfile
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
from requirements_of import needed

ROOT = Path(__file__).resolve().parents[2]
CHART = "helm/noetl"
SUMS = "SHA256SUMS"
_BUILD_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is released, and where to."""

    root: Path
    out: Path
    version: str
    made: datetime

    def file(self, ending: str) -> Path:
        """Return the path of a file of the release."""
        return self.out / f"noetl-{self.version}{ending}"


def say(line: str) -> None:
    """Tell the reader, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wheels(release: Release) -> list[Path]:
    """Build the wheels with the build tools that requirements.txt pins."""
    locked = ("--require-hashes", "--build-constraint", "requirements.txt")
    run(
        [
            *(".uv/bin/uv", "build", "--quiet", "--wheel", "--all-packages", *locked),
            *("--out-dir", str(release.out)),
        ],
        timeout=_BUILD_SECONDS,
        environment={"SOURCE_DATE_EPOCH": str(int(release.made.timestamp()))},
        folder=release.root,
    )
    (release.out / ".gitignore").unlink(missing_ok=True)
    shutil.copyfile(release.root / "requirements.txt", release.file("-requirements.txt"))
    return sorted(release.out.glob("*.whl"))


def source(release: Release) -> None:
    """Write what the commit holds."""
    tree = f"noetl-{release.version}/"
    written = release.file(".tar")
    git(release.root, "archive", f"--prefix={tree}", f"--output={written}", "HEAD")
    with written.open("rb") as plain:
        _gzip(plain.read, release.file(".tar.gz"))
    written.unlink()


def chart(release: Release) -> None:
    """Write the chart as Helm packages it: a folder of its name, in an archive."""
    names = git(release.root, "ls-files", CHART).splitlines()
    if not names:
        return
    written = release.file("-chart.tar")
    with tarfile.open(written, "w") as archive:
        for name in names:
            entry = tarfile.TarInfo(str(Path(name).relative_to(Path(CHART).parent)))
            content = (release.root / name).read_bytes()
            entry.size, entry.mode, entry.mtime = len(content), 0o644, int(release.made.timestamp())
            with (release.root / name).open("rb") as file:
                archive.addfile(entry, file)
    with written.open("rb") as plain:
        _gzip(plain.read, release.file("-chart.tgz"))
    written.unlink()


def _gzip(read: Callable[[int], bytes], file: Path) -> None:
    # Without a name and a time inside, so that the same content is the same file.
    with file.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        while block := read(1 << 20):
            packed.write(block)


def lists(release: Release, built: list[Path]) -> None:
    """Write the lists of contents: of everything, and of each image."""
    lock = (release.root / "requirements.txt").read_text()

    def write(name: str, ending: str, files: list[Path], locked: str, kind: ComponentType) -> None:
        subject = Subject(name=name, version=release.version, type=kind, made=release.made)
        gone = {part for image in parts.images() if image.name == name for part in image.unused}
        packages = [package for package in pinned(locked) if package.name not in gone]
        release.file(f"{ending}.cdx.json").write_text(contents(subject, files, packages))

    ours = set(parts.by_package(built))
    write("noetl", "", built, "\n".join(needed(lock, ours)), ComponentType.APPLICATION)
    with tempfile.TemporaryDirectory(prefix="noetl-release-") as scratch:
        parts.main(release.out, release.root / "requirements.txt", Path(scratch))
        for image in parts.images():
            folder = Path(scratch, image.name)
            files = sorted((folder / "wheels").iterdir())
            locked = (folder / "requirements.txt").read_text()
            write(image.name, f"-{image.name}", files, locked, ComponentType.CONTAINER)


def images(release: Release, engine: Engine, base: str) -> None:
    """Build and save the images; write what they were built from."""
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
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    release = Release(root=ROOT, out=out, version=version, made=committed_at(ROOT))
    built = wheels(release)
    say(f"{len(built)} wheels")
    source(release)
    chart(release)
    lists(release, built)
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
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="emptied first")
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
