"""References of steps to plug-ins, and the pinned versions of an execution."""

from dataclasses import dataclass
from typing import Final

from pydantic import StrictInt, StrictStr

from noetl_contract.model import Model, example

_LAST_VERSION: Final = 32_767
_LONGEST: Final = 512


class BadName(ValueError):
    """The text is not a reference to a plug-in; the message says why."""


@dataclass(frozen=True, slots=True)
class PluginReference:
    """A catalog path, with a version where one is asked for."""

    path: str
    version: int | None = None


class PluginPin(Model):
    """The version of a plug-in that an execution keeps.

    The digest gives access to the module: it stands in the log of executions that use it.
    """

    model_config = example(
        path="plugins/score",
        version=3,
        catalog_id=767225066105864194,
        digest="2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    )

    path: StrictStr
    version: StrictInt
    catalog_id: StrictInt
    digest: StrictStr


def read_reference(text: object) -> PluginReference:
    """Read ``path`` or ``path@version``.

    Raises:
        BadName: it is neither.
    """
    if not isinstance(text, str) or not text.strip():
        raise BadName("'plugin' is no path of a plug-in")
    if "{{" in text or "{%" in text:
        raise BadName(
            "'plugin' is a template: an execution keeps the versions of the plug-ins that its"
            " playbook names"
        )
    if len(text) > _LONGEST:
        raise BadName(f"'plugin' has more than {_LONGEST} characters")
    path, at, version = text.strip().rpartition("@")
    if not at:
        return PluginReference(version)
    if not path or not version.isascii() or not version.isdigit():
        raise BadName(f"'plugin' is '{text}', neither a path nor path@version")
    if not 1 <= int(version) <= _LAST_VERSION:
        raise BadName(f"'plugin' names version {version}; versions are 1 to {_LAST_VERSION}")
    return PluginReference(path, int(version))
