"""The form of the tables: a kind of tool with the keys of its configuration."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from noetl_contract.json import Json

CREDENTIAL_KEYS = ("auth", "credential")
"""Keys of every tool that name a credential."""


class KeyType(StrEnum):
    """Type of a value, once its templates are rendered."""

    ANY = "any"
    TEXT = "text"
    UNSIGNED = "unsigned"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    MAPPING = "mapping"
    TEXTS = "texts"
    LIST = "list"
    TEXT_LIST = "text_list"
    LIST_OR_MAPPING = "list_or_mapping"


@dataclass(frozen=True, slots=True)
class ToolKey:
    """One key of a mapping.

    Attributes:
        name: The key.
        type: Type of its value.
        description: One sentence.
        is_required: Whether the tool refuses a configuration without it.
        default: Value when it is absent, where that is a constant.
        default_text: Words for the default, where a setting or another key decides it.
        aliases: Other names of the key; a configuration has at most one of them.
        choices: The words that are accepted, all when empty.
        keys: The keys inside, for a mapping or the mappings of a list.
    """

    name: str
    type: KeyType
    description: str
    is_required: bool = False
    default: Json = None
    default_text: str | None = None
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    keys: tuple["ToolKey", ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The key and its aliases."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Variants:
    """Keys that are required depending on the value of another key.

    Attributes:
        key: The key that holds the word.
        required: Required keys by word; every accepted word is there.
    """

    key: str
    required: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolKind:
    """One kind of tool.

    Attributes:
        name: The word in ``kind``.
        description: One sentence.
        keys: The keys of its configuration, beside those of every tool.
        alternatives: Groups of keys of which one each must be there.
        by_credential: Keys that a credential named in ``auth`` or ``credential`` can bring:
            with one, none of them is missed.
        variants: Required keys that depend on a word.
        is_open: Whether keys that are not named here mean something.
        instead: For kinds that our workers don't run: the advice in the refusal.
        is_run_elsewhere: Whether workers of other makers run it.
        package: For kinds that our workers run with a package of its own beside them: its name.
        is_in_images: Whether the images of workers have that package.
        is_repeatable: Whether a run whose worker is lost is run again, unless its step says
            otherwise. So far that is every kind: clients count on it, and a tool may check for
            itself what it has done. A step or the server's setting takes a kind out.
    """

    name: str
    description: str
    keys: tuple[ToolKey, ...] = ()
    alternatives: tuple[tuple[str, ...], ...] = ()
    by_credential: frozenset[str] = field(default_factory=frozenset)
    variants: Variants | None = None
    is_open: bool = False
    instead: str | None = None
    is_run_elsewhere: bool = False
    package: str | None = None
    is_in_images: bool = False
    is_repeatable: bool = True

    @property
    def is_run(self) -> bool:
        """Whether our workers run this kind."""
        return self.instead is None

    @property
    def advice(self) -> str | None:
        """Advice to operators or authors where a worker doesn't run this kind."""
        if self.package is not None:
            return f"install {self.package} where the workers are"
        return self.instead

    @property
    def names(self) -> frozenset[str]:
        """All keys of the kind, with aliases."""
        return frozenset(name for key in self.keys for name in key.names)

    def key(self, name: str) -> ToolKey | None:
        """Return the key of a name or alias."""
        return next((key for key in self.keys if name in key.names), None)

    def missing(self, config: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
        """Yield the missing keys of a configuration: names of which one must be there.

        Null counts as absent. Templates may hide anything, so only presence is looked at.
        """
        has_auth = any(config.get(name) is not None for name in CREDENTIAL_KEYS)
        for names in (*self.required, *self._by_variant(config)):
            if any(config.get(name) is not None for name in names):
                continue
            if not (has_auth and self.by_credential.issuperset(names)):
                yield names

    @property
    def required(self) -> tuple[tuple[str, ...], ...]:
        """Groups of names, of each of which one must be there in any variant."""
        return (*(key.names for key in self.keys if key.is_required), *self.alternatives)

    def _by_variant(self, config: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
        word = config.get(self.variants.key) if self.variants else None
        if self.variants is not None and isinstance(word, str):
            yield from ((name,) for name in self.variants.required.get(word, ()))


TIMEOUT_SECONDS = ToolKey(
    "timeout_seconds",
    KeyType.UNSIGNED,
    "Longest run of one call.",
    default_text="NOETL_WORKER_SQL_TIMEOUT_SECONDS, which is also the most",
)
ARGUMENTS = ToolKey(
    "args", KeyType.MAPPING, "Arguments of the script.", default={}, aliases=("input",)
)
ENV = ToolKey("env", KeyType.TEXTS, "Variables added to a clean environment.", default={})
CWD = ToolKey("cwd", KeyType.TEXT, "Working directory.", default_text="a directory of the run")
