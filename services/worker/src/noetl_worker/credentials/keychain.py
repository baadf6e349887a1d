"""Give a tool's templates the keychain entries that they name, and give them to nothing else.

The server leaves such templates to the worker. An entry is a variable of the one rendering that
names it: neither code nor `set`, rules or results see it, and its texts are masked in all that
the command puts out.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace

from noetl_contract.json import Json, texts_in
from noetl_contract.tools import WITHOUT_KEYCHAIN
from noetl_template import (
    KEYCHAIN,
    Reference,
    Secrets,
    TemplateError,
    has_worker_syntax,
    references,
)

from noetl_worker.credentials.credential import Credential, CredentialError
from noetl_worker.credentials.known_secrets import KnownSecrets
from noetl_worker.credentials.type_mappings import hidden_texts
from noetl_worker.tools.tool import ToolContext

type Find = Callable[[str], Awaitable[Credential]]


class CommandKeychain:
    """The keychain entries of one command.

    Args:
        names: entries that the control plane says the step's templates may name.
        needed: those of them that must have a value.
        find: looks one up.
        known: learns what is to be masked.
        execution_id: whose they are.
    """

    def __init__(
        self,
        names: frozenset[str],
        *,
        needed: frozenset[str] = frozenset(),
        find: Find,
        known: KnownSecrets,
        execution_id: int,
    ) -> None:
        self._names = names
        self._needed = needed
        self._find = find
        self._known = known
        self._execution_id = execution_id

    def __bool__(self) -> bool:
        """Return whether the step may name any entry."""
        return bool(self._names)

    async def given(self, kind: str, values: Iterable[Json], context: ToolContext) -> ToolContext:
        """Return a context whose renderings see the entries that these values name.

        Raises:
            CredentialError: an entry isn't there or can't be had, or the tool would keep it
                readable.
        """
        if not self._names:
            return context
        named = list(_named(values))
        if not named:
            return context
        wanted = self._wanted(named)
        if kind in WITHOUT_KEYCHAIN and wanted:
            raise CredentialError(
                f"keychain entry '{wanted[0]}' may not be given to a tool of kind '{kind}', which "
                "would keep it readable; another playbook names the secret in its own keychain"
            )
        found = {name: await self._value(name) for name in wanted}
        for one in named:
            if not one.is_guarded and len(one.path) > 2 and isinstance(found[one.path[1]], str):
                raise CredentialError(
                    f"keychain entry '{one.path[1]}' is one text and has no field '{one.path[2]}'"
                )
        optional = frozenset(one.path for one in named if one.is_guarded)
        return replace(context, keychain=Secrets({**context.keychain, **found}, optional=optional))

    async def _value(self, name: str) -> Json:
        try:
            credential = await self._find(name)
        except CredentialError as error:
            if not error.is_missing:
                raise
            if name in self._needed:
                raise CredentialError(
                    f"keychain entry '{name}' has no value: it names neither 'provider' nor "
                    "'credential', and nothing is stored for this playbook"
                ) from error
            # A program outside makes it, and hasn't: empty, as ever.
            return None
        if credential.allowed_hosts is not None:
            raise CredentialError(
                f"credential '{credential.alias}' may be sent to its hosts only, which a template "
                "can't see to: name it in 'auth'"
            )
        self._known.learn(self._execution_id, hidden_texts(credential))
        return credential.value

    def _wanted(self, named: list[Reference]) -> list[str]:
        """Return the entries to look up, in order of their names.

        Raises:
            CredentialError: the playbook has no such entry.
        """
        found: set[str] = set()
        for one in named:
            if len(one.path) == 1:
                found |= self._names
            elif one.path[1] in self._names:
                found.add(one.path[1])
            elif not one.is_guarded:
                raise CredentialError(f"the playbook's keychain has no entry '{one.path[1]}'")
        return sorted(found)


def _named(values: Iterable[Json]) -> Iterator[Reference]:
    """Yield the look-ups of the keychain in templates of values; wrong ones fail by themselves."""
    for text in texts_in(values):
        if KEYCHAIN not in text or not has_worker_syntax(text):
            continue
        try:
            found = references(text, by_worker=True)
        except TemplateError:
            continue
        yield from (one for one in found if one.path[0] == KEYCHAIN)
