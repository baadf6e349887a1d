"""Operations on plug-ins: the versions that an execution pins, and their modules."""

from collections import OrderedDict

from noetl_bus.rpc import Encoded, Handlers, answers
from noetl_contract.access.principal import is_below
from noetl_contract.plugins.document import BadPlugin, PluginBody, read_plugin
from noetl_contract.plugins.names import BadName, PluginReference, read_reference
from noetl_contract.plugins.requests import PluginNames, PluginPins, PluginRequest
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import PLUGIN, PLUGIN_PINS
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import compose, to_json

from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore

_KEPT = 16
_MISSING = "Plug-in not found: {catalog_id}"


class PluginHandlers(Handlers):
    """Operations on plug-ins, for executions and workers."""

    def __init__(self, store: EntryStore, *, settings: EntrySettings, parsers: Parsers) -> None:
        self._store = store
        self._settings = settings
        self._parsers = parsers
        self._bodies: OrderedDict[tuple[int, str], Encoded[PluginBody]] = OrderedDict()

    @answers(PLUGIN_PINS)
    async def on_pins(self, request: PluginNames) -> PluginPins:
        """Return the current versions of plug-ins, except names outside of the namespace."""
        requested: dict[str, PluginReference] = {}
        for name in request.names:
            try:
                reference = read_reference(name)
            except BadName:
                continue
            if is_below(reference.path, request.namespace or ""):
                requested[name] = reference
        return PluginPins(pins=await self._store.find_plugins(requested) if requested else {})

    @answers(PLUGIN)
    async def on_plugin(self, request: PluginRequest) -> Encoded[PluginBody] | Refusal:
        """Return a plug-in with its module; the caller has to know the digest of the module."""
        key = request.catalog_id, request.digest
        kept = self._bodies.get(key)
        if kept is not None:
            self._bodies.move_to_end(key)
            return kept
        missing = Refusal(404, _MISSING.format(catalog_id=request.catalog_id))
        entry = await self._store.find_by_id(request.catalog_id, whole=True, even_deleted=True)
        if entry is None or entry.kind != "plugin":
            return missing
        body = await self._parsers.run(
            _read, entry.content or "", most=self._settings.plugin_module_max_bytes
        )
        if isinstance(body, Refusal):
            return body
        if body is None or body.digest != request.digest:
            return missing
        whole = body.model_copy(update={"path": entry.path, "version": entry.version})
        answer = Encoded[PluginBody](PLUGIN.encode_answer(whole))
        self._bodies[key] = answer
        while len(self._bodies) > _KEPT:
            self._bodies.popitem(last=False)
        return answer


def _read(content: str, *, most: int) -> PluginBody | None:
    """Return the plug-in of a registered document, or None if this release can't decode it."""
    try:
        tree = to_json(compose(content))
        return read_plugin(tree, most=most) if isinstance(tree, dict) else None
    except (DecodeError, BadPlugin):
        return None
