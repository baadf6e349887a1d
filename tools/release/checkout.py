"""Version, commit, notes and address of a checkout."""

import re
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

_MEMBERS = ("libs/*", "services/*", "cli", "testkit", "packages/*")
_CHART = "helm/noetl/Chart.yaml"
_CHART_VERSION = re.compile(r'^(?:version|appVersion): "?([^"\s]+)', re.MULTILINE)


class NotReadyError(Exception):
    """The checkout can't be released as it is; the text says why."""


def git(root: Path, *words: str) -> str:
    """Return git's output, without the end of its last line."""
    done = subprocess.run(  # noqa: S603 -- constant words
        ["git", "-C", str(root), *words],  # noqa: S607 -- git of the path
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NotReadyError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.removesuffix("\n")


def version_of(root: Path) -> str:
    """Return the version that all parts share.

    Raises:
        NotReadyError: they don't; the text names those that differ.
    """
    found = {"pyproject.toml": _project_version(root)}
    for pattern in _MEMBERS:
        for folder in sorted(root.glob(pattern)):
            if (folder / "pyproject.toml").is_file():
                found[f"{folder.relative_to(root)}/pyproject.toml"] = _project_version(folder)
    if (root / _CHART).is_file():
        versions = _CHART_VERSION.findall((root / _CHART).read_text())
        found[_CHART] = versions[0] if len(set(versions)) == 1 else " and ".join(versions)
    wanted = found["pyproject.toml"]
    wrong = {name: version for name, version in found.items() if version != wanted}
    if wrong:
        raise NotReadyError(f"the workspace is {wanted}, but {wrong}")
    return wanted


def _project_version(folder: Path) -> str:
    version: str = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    return version


def refuse_changes(root: Path) -> None:
    """Refuse a checkout with changes that no commit has.

    Raises:
        NotReadyError: it has some.
    """
    if changed := git(root, "status", "--porcelain", "--untracked-files=normal"):
        raise NotReadyError(f"these changes are in no commit:\n{changed}")


def committed_at(root: Path) -> datetime:
    """Return when the commit was made."""
    return datetime.fromtimestamp(int(git(root, "log", "-1", "--format=%ct")), UTC)


def source_of(root: Path) -> str:
    """Return the address of the repository without a login; empty when it has none."""
    try:
        parts = urlsplit(git(root, "config", "--get", "remote.origin.url"))
    except NotReadyError:
        return ""
    return f"https://{parts.hostname}{parts.path}" if parts.hostname else ""


def notes_of(changelog: str, version: str) -> str:
    """Return the part of the changelog about a version, else the unreleased part.

    Raises:
        NotReadyError: it has neither.
    """
    parts = re.split(r"(?m)^## ", changelog)[1:]
    for title in (version, "Unreleased"):
        for part in parts:
            head, _, text = part.partition("\n")
            if head.strip("[] ").startswith(title) and text.strip():
                return f"# NoETL control plane {version}\n\n{text.strip()}\n"
    raise NotReadyError(f"CHANGELOG.md says nothing about {version}")
