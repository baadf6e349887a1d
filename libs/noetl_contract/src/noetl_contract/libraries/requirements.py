"""Requirements of a step: `requirements` of its tool, and the header of its script."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from noetl_contract.json import Json
from noetl_contract.libraries.header import BadHeader, script_header
from noetl_contract.libraries.python import is_specifier

MOST_REQUIREMENTS: Final = 100
_LONGEST: Final = 300
_VERSION: Final = r"(?:===?|~=|!=|<=?|>=?) ?[A-Za-z0-9][A-Za-z0-9.*+!_-]*"
# Names with versions and markers only: no address, no path, no option of an installer.
_REQUIREMENT: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
    r"(?: ?\[[A-Za-z0-9._, -]*\])?"
    rf"(?: ?\(?{_VERSION}(?: ?, ?{_VERSION})*\)?)?"
    r"(?: ?;[ <>=!~,.*+A-Za-z0-9_()'\"-]+)?"
)


class BadRequirements(ValueError):
    """The requirements of a step can't be read; the text names the problem."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """Packages with their versions, as PEP 508 writes them.

    Attributes:
        packages: Each once, in the order of the alphabet.
        python: Versions of Python that the script's header allows; None: any.
    """

    packages: tuple[str, ...]
    python: str | None = None

    @property
    def digest(self) -> str:
        """The digest under which their lock is stored with a version of a playbook."""
        said = json.dumps([list(self.packages), self.python], separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()

    def __str__(self) -> str:
        """Return the requirements as text for people."""
        return ", ".join(self.packages)


def requirements_of(config: Mapping[str, Json]) -> Requirements | None:
    """Return the requirements in the configuration of a tool; None without any.

    Raises:
        BadRequirements: it can't be read.
    """
    listed = config.get("requirements")
    header = _header_of(config)
    if listed is None and header is None:
        return None
    packages = _packages("requirements", listed)
    python = None
    if header is not None:
        packages += _packages("dependencies of the script's header", header.get("dependencies"))
        python = _python(header.get("requires-python"))
    if not packages:
        return None
    if len(packages) > MOST_REQUIREMENTS:
        raise BadRequirements(f"{len(packages)} requirements, the most are {MOST_REQUIREMENTS}")
    return Requirements(tuple(sorted(set(packages))), python)


def package_of(requirement: str) -> str:
    """Return the name of a requirement's package, as indexes spell it."""
    name = re.match(r"[A-Za-z0-9._-]*", requirement)
    return re.sub(r"[-_.]+", "-", name[0] if name else "").lower()


def _header_of(config: Mapping[str, Json]) -> Mapping[str, Json] | None:
    code = _inline_code(config)
    try:
        return None if code is None else script_header(code)
    except BadHeader as error:
        raise BadRequirements(str(error)) from error


def _inline_code(config: Mapping[str, Json]) -> str | None:
    """Return the text of a script that the playbook itself holds."""
    if isinstance(code := config.get("code"), str):
        return code
    script = config.get("script")
    if not isinstance(script, Mapping):
        return None
    if isinstance(content := script.get("content"), str):
        return content
    source = script.get("source")
    inner = source.get("code") if isinstance(source, Mapping) else None
    return inner if isinstance(inner, str) else None


def _packages(place: str, given: Json) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise BadRequirements(f"{place}: not a list of texts such as `pandas==2.3.3`")
    return list(_checked(place, given))


def _checked(place: str, given: Iterable[Json]) -> Iterable[str]:
    for one in given:
        if not isinstance(one, str):
            raise BadRequirements(f"{place}: {str(one)[:_LONGEST]!r} is no text")
        text = " ".join(one.split())
        if "{{" in text or "{%" in text:
            raise BadRequirements(f"{place}: {text[:_LONGEST]!r} is a template, which has no lock")
        if len(text) > _LONGEST or _REQUIREMENT.fullmatch(text) is None:
            raise BadRequirements(
                f"{place}: {text[:_LONGEST]!r} is no package with a version, "
                "such as `pandas==2.3.3`; addresses, paths and options are refused"
            )
        yield text


def _python(given: Json) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or len(given) > _LONGEST or not is_specifier(given):
        raise BadRequirements(f"requires-python: {str(given)[:_LONGEST]!r} is no version")
    return given
