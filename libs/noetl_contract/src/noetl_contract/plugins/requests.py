"""Requests about plug-ins: their current versions, and a module."""

from typing import Annotated

from msgspec import Meta

from noetl_contract.model import Model, Struct
from noetl_contract.plugins.names import PluginPin


class PluginNames(Struct):
    """Plug-ins as playbooks name them: ``path`` or ``path@version``.

    With a namespace, those outside of it are not there.
    """

    names: Annotated[list[str], Meta(max_length=1000)]
    namespace: str | None = None


class PluginPins(Model):
    """Versions of plug-ins, by name; unknown plug-ins are absent."""

    pins: dict[str, PluginPin]


class PluginRequest(Struct):
    """One version of a plug-in, by its id and the digest of its module."""

    catalog_id: int
    digest: str
