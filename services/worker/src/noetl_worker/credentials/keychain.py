"""Give a tool's templates the keychain entries that they name, and nobody else.

The server leaves such templates to the worker. An entry is a variable of the one rendering that
names it: neither code nor `set`, rules or results see it, and its texts are masked in all that
the command puts out.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from noetl_contract.json import Json, texts_in
from noetl_contract.tools import WITHOUT_KEYCHAIN
from noetl_template import TemplateError, has_worker_syntax, look_ups

from noetl_worker.credentials.credential import Credential, CredentialError
from noetl_worker.credentials.known_secrets import KnownSecrets
from noetl_worker.credentials.type_mappings import hidden_texts
from noetl_worker.tools.tool import ToolContext

_ROOT: Final = "keychain"

type Find = Callable[[str], Awaitable[Credential]]


class CommandKeychain:
    """The keychain entries of one command.

    Args:
        names: entries that the control plane says the step's templates may name.
        find: looks one up.
        known: learns what is to be masked.
        execution_id: whose they are.
    """

    def __init__(
        self, names: frozenset[str], *, find: Find, known: KnownSecrets, execution_id: int
    ) -> None:
        self._names = names
        self._find = find
        self._known = known
        self._execution_id = execution_id

    def __bool__(self) -> bool:
        """Tell whether the step may name any entry."""
        return bool(self._names)

    async def given(self, kind: str, values: Iterable[Json], context: ToolContext) -> ToolContext:
        """Return a context whose renderings see the entries that these values name.

        Raises:
            CredentialError: an entry can't be had, or the tool would keep it readable.
        """
        if not self._names:
            return context
        wanted = sorted(self._wanted(values))
        if not wanted:
            return context
        if kind in WITHOUT_KEYCHAIN:
            raise CredentialError(
                f"keychain entry '{wanted[0]}' may not be given to a tool of kind '{kind}', which "
                "would keep it readable; another playbook names the secret in its own keychain"
            )
        found = {name: await self._value(name) for name in wanted}
        return replace(context, keychain={**context.keychain, **found})

    async def _value(self, name: str) -> Json:
        try:
            credential = await self._find(name)
        except CredentialError as error:
            if error.is_missing:
                # Declared without a source, and nobody has stored it: empty, as ever.
                return None
            raise
        if credential.allowed_hosts is not None:
            raise CredentialError(
                f"credential '{credential.alias}' may be sent to its hosts only, which a template "
                "can't see to: name it in 'auth'"
            )
        self._known.learn(self._execution_id, hidden_texts(credential))
        return credential.value

    def _wanted(self, values: Iterable[Json]) -> Iterator[str]:
        found: dict[str, None] = {}
        for text in texts_in(values):
            if _ROOT not in text or not has_worker_syntax(text):
                continue
            try:
                paths = [path for path in look_ups(text) if path[0] == _ROOT]
            except TemplateError:
                continue  # its rendering says so
            for path in paths:
                found.update(dict.fromkeys(path[1:2] or self._names))
        return (name for name in found if name in self._names)
