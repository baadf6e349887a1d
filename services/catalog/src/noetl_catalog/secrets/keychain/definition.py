"""Keychain entries as playbooks define them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from noetl_contract.json import Json
from noetl_engine.playbook.parse.keychain import credential_named

type Policy = Literal["none", "advisory", "strict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """An entry: a provider resolves it, it names a stored credential, or its value is stored.

    Attributes:
        provider: name of the provider; empty without one.
        credential: name of a stored credential; only without a provider.
        reference: the place of the secret at the provider; empty for the name of the entry.
        references: templates of such places by key, for a secret of several values.
        policy: what happens outside of the region.
        region: where the secret lives; empty for everywhere.
        allowed_regions: other regions that may resolve it.
    """

    provider: str = ""
    credential: str = ""
    reference: str = ""
    references: Mapping[str, str] | None = None
    policy: Policy = "none"
    region: str = ""
    allowed_regions: frozenset[str] = frozenset()

    @classmethod
    def read(cls, raw: Mapping[str, Json]) -> Self:
        """Read an entry; a value of another type counts as absent."""
        provider, references = _text(raw.get("provider")), raw.get("map")
        regions = raw.get("allowed_regions")
        return cls(
            provider=provider,
            credential=credential_named(raw),
            reference=str(raw.get("name") or ""),
            references={key: str(place) for key, place in references.items()}
            if isinstance(references, dict)
            else None,
            policy=_policy(raw.get("residency")),
            region=_text(raw.get("region")),
            allowed_regions=frozenset(map(_text, regions if isinstance(regions, list) else ())),
        )


def _policy(value: Json) -> Policy:
    match value:
        case "advisory":
            return "advisory"
        case "strict":
            return "strict"
        case _:
            return "none"


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
