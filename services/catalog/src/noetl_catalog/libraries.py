"""Resolution of the library requirements of steps to locks, with uv in child processes."""

import asyncio
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final, Literal

from noetl_common.libraries import LibrarySettings, Uv, UvFailed, UvLimits
from noetl_common.logging import get_logger
from noetl_common.metrics import counter, histogram
from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.libraries.python import allows
from noetl_contract.libraries.requirements import Requirements, package_of
from noetl_contract.rpc import Refusal
from noetl_engine.playbook.libraries import StepLibraries
from pydantic import Field

_PINNED: Final = re.compile(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)==")
_COMMAND: Final = (
    "compile", "pyproject.toml", "--generate-hashes", "--no-header", "--no-annotate",
    "--no-sources", "--quiet", "--python-version",
)  # fmt: skip

_log = get_logger()
_RESOLVED = counter(
    "noetl_catalog_libraries_resolved_total",
    "Resolved lists of libraries, by outcome.",
    ("outcome",),
    zeros=("resolved", "refused", "unreachable"),
)
_RESOLVE_SECONDS = histogram(
    "noetl_catalog_libraries_resolve_seconds",
    "Time to resolve one list of libraries, including the wait for a slot.",
)


class ResolveSettings(LibrarySettings):
    """Limits of the registration of playbooks whose steps need libraries."""

    libraries: bool = True
    """Accept playbooks whose steps require libraries."""
    libraries_allowed: str = ""
    """Names of the packages that a lock may contain, including dependencies, separated by commas;
    empty for all."""
    libraries_unresolved: Literal["refuse", "keep"] = "refuse"
    """Handling of a playbook while the package index is not reachable: `refuse` it, or `keep` it,
    which registers it with the reason and makes its steps fail."""
    libraries_python: str = Field(
        default=f"{sys.version_info.major}.{sys.version_info.minor}", pattern=r"^3\.[0-9]{1,2}$"
    )
    """Python version of the workers, for which libraries are resolved."""
    libraries_resolve_seconds: float = Field(default=8.0, gt=0)
    """Timeout for all libraries of one registration; it should be shorter than
    `NOETL_REQUEST_PATIENCE_SECONDS` of the gateway."""
    libraries_resolve_at_once: int = Field(default=2, ge=1)
    """Maximum number of concurrent processes of uv; further registrations wait."""
    libraries_lock_max_bytes: int = Field(default=256 << 10, gt=0)
    """Maximum size of the lock of one step."""
    libraries_sets_max: int = Field(default=20, gt=0)
    """Maximum number of different lists of libraries in one playbook."""

    def allowed_packages(self) -> frozenset[str]:
        """Return the names of the packages that a lock may contain; an empty set allows all."""
        names = self.libraries_allowed.split(",")
        return frozenset(package_of(name.strip()) for name in names if name.strip())


@dataclass(frozen=True, slots=True)
class Resolved:
    """The locks of a document's steps.

    Attributes:
        locks: locks by the digest of their requirements.
        problems: requirements that could not be resolved, although the document is registered.
    """

    locks: Mapping[str, LibraryLock] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


NO_LIBRARIES: Final = Resolved()
"""Result for a document without libraries."""


@dataclass(frozen=True, slots=True)
class _Deadline:
    at: float
    seconds: float

    def left(self) -> float:
        return max(0.05, self.at - asyncio.get_running_loop().time())


class Resolver:
    """Resolves lists of requirements, with a bound of concurrent processes and a timeout."""

    def __init__(self, settings: ResolveSettings) -> None:
        self._settings = settings
        self._allowed = settings.allowed_packages()
        self._uv = Uv(settings)
        self._slots = asyncio.Semaphore(settings.libraries_resolve_at_once)

    async def resolve(self, steps: Sequence[StepLibraries]) -> Resolved | Refusal:
        """Return the locks of a document's steps, or a refusal of the document."""
        wanted: dict[str, tuple[StepLibraries, Requirements]] = {}
        for step in steps:
            if step.problem is not None:
                return Refusal(422, f"{step.named}: {step.problem}")
            if step.requirements is not None:
                wanted.setdefault(step.requirements.digest, (step, step.requirements))
        if not wanted:
            return NO_LIBRARIES
        settings = self._settings
        first = next(iter(wanted.values()))[0]
        if not settings.libraries:
            return Refusal(422, f"{first.named}: this server takes no libraries (NOETL_LIBRARIES)")
        if len(wanted) > settings.libraries_sets_max:
            most = settings.libraries_sets_max
            text = f"{len(wanted)} different lists of libraries, the most are {most}"
            return Refusal(422, f"{text} (NOETL_LIBRARIES_SETS_MAX)")
        return await self._resolve_all(wanted)

    async def _resolve_all(
        self, wanted: Mapping[str, tuple[StepLibraries, Requirements]]
    ) -> Resolved | Refusal:
        seconds = self._settings.libraries_resolve_seconds
        deadline = _Deadline(asyncio.get_running_loop().time() + seconds, seconds)
        locks: dict[str, LibraryLock] = {}
        problems: list[str] = []
        for digest, (step, requirements) in wanted.items():
            started = perf_counter()
            outcome = "resolved"
            try:
                locks[digest] = await self._lock_of(requirements, deadline)
            except UvFailed as error:
                text = f"{step.named}: {requirements} can't be resolved: {error}"
                outcome = "unreachable" if error.is_unreachable else "refused"
                _log.warning("libraries_not_resolved", step=step.named, error=str(error))
                if not error.is_unreachable:
                    return Refusal(422, text)
                if self._settings.libraries_unresolved == "refuse":
                    return Refusal(503, text)
                locks[digest] = LibraryLock(reason=text)
                problems.append(text)
            finally:
                _RESOLVED.labels(outcome).inc()
                _RESOLVE_SECONDS.observe(perf_counter() - started)
        return Resolved(locks, tuple(problems))

    async def _lock_of(self, requirements: Requirements, deadline: _Deadline) -> LibraryLock:
        """Return a lock.

        Raises:
            UvFailed: there is none.
        """
        settings = self._settings
        target = settings.libraries_python
        if requirements.python is not None and not allows(requirements.python, target):
            text = f"the script wants Python {requirements.python}, the workers' is {target}"
            raise UvFailed(f"{text} (NOETL_LIBRARIES_PYTHON)")
        try:
            async with asyncio.timeout(deadline.left()):
                await self._slots.acquire()
        except TimeoutError as error:
            text = f"too many others are being resolved, for {deadline.seconds:g} seconds"
            raise UvFailed(text, is_unreachable=True) from error
        try:
            text = await self._compiled(requirements, deadline)
        finally:
            self._slots.release()
        packages = {package_of(name) for name in _PINNED.findall(text)}
        if self._allowed and (refused := sorted(packages - self._allowed)):
            named = ", ".join(refused)
            text = f"not among the packages of this server: {named} (NOETL_LIBRARIES_ALLOWED)"
            raise UvFailed(text)
        return LibraryLock(lock=text, python=target)

    async def _compiled(self, requirements: Requirements, deadline: _Deadline) -> str:
        directory = Path(tempfile.mkdtemp(prefix="noetl-lock-"))
        try:
            (directory / "pyproject.toml").write_text(_project(requirements))
            printed = await self._uv.run(
                (*_COMMAND, self._settings.libraries_python),
                directory=directory,
                limits=UvLimits(deadline.left(), self._settings.libraries_lock_max_bytes),
            )
        finally:
            # A killed process may have left a large cache.
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        return printed.decode()


def _project(requirements: Requirements) -> str:
    """Return a pyproject.toml with the requirements; a list of strings is the same as in JSON."""
    lines = ["[project]", 'name = "step"', 'version = "0"']
    lines.append(f"dependencies = {json.dumps(list(requirements.packages))}")
    return "\n".join(lines) + "\n"
