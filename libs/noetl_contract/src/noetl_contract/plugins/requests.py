"""Requests about plug-ins: their current versions, and a module."""

from pydantic import Field

from noetl_contract.model import Model, example
from noetl_contract.plugins.names import PluginPin


class PluginNames(Model):
    """Plug-ins as playbooks name them: ``path`` or ``path@version``.

    With a namespace, those outside of it are not there.
    """

    model_config = example(names=["plugins/score"], namespace=None)

    names: list[str] = Field(max_length=1000)
    namespace: str | None = None


class PluginPins(Model):
    """Versions of plug-ins, by name; unknown plug-ins are absent."""

    pins: dict[str, PluginPin]


class PluginRequest(Model):
    """One version of a plug-in, by its id and the digest of its module."""

    model_config = example(catalog_id=767225066105864194, digest="2c26b46b")

    catalog_id: int
    digest: str
