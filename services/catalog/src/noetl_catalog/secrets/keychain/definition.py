"""Keychain entries as playbooks define them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self

from noetl_contract.json import Json, JsonObject
from noetl_engine.playbook.parse.keychain import credential_named, token_endpoint

from noetl_catalog.providers.oauth2 import REFRESH
from noetl_catalog.providers.registry import OAUTH2

type Policy = Literal["none", "advisory", "strict"]

SCOPES: Final = frozenset({"local", "global", "shared"})
# Keys that say how an entry is kept; they are not passed to providers.
_OWN_KEYS = frozenset(
    {
        "name", "kind", "provider", "credential", "map", "scope", "residency", "region",
        "allowed_regions", "no_broker_fallback", "auto_renew",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """An entry: a provider resolves it, it names a stored credential, or its value is stored.

    Attributes:
        provider: name of the provider; empty without one.
        credential: name of a stored credential; without a provider what the entry stands for,
            of a token the client that asks for it.
        reference: the place of the secret at the provider; empty for the name of the entry.
        references: templates of such places by key, for a secret of several values.
        options: the entry's other keys, templates in them.
        is_shared: whether all executions of the playbook share the value.
        policy: what happens outside of the region.
        region: where the secret lives; empty for everywhere.
        allowed_regions: other regions that may resolve it.
    """

    provider: str = ""
    credential: str = ""
    reference: str = ""
    references: Mapping[str, str] | None = None
    options: JsonObject = field(default_factory=dict, repr=False)
    is_shared: bool = False
    policy: Policy = "none"
    region: str = ""
    allowed_regions: frozenset[str] = frozenset()

    @property
    def is_by_refresh(self) -> bool:
        """Whether the stored credential's refresh token is sent, which the issuer may replace."""
        return self.provider == OAUTH2 and self.options.get("grant") == REFRESH

    @classmethod
    def read(cls, raw: Mapping[str, Json]) -> Self:
        """Read an entry; a value of another type counts as absent."""
        provider, references = _text(raw.get("provider")), raw.get("map")
        provider = provider or (OAUTH2 if token_endpoint(raw) else "")
        regions, scope = raw.get("allowed_regions"), _text(raw.get("scope"))
        is_token = provider == OAUTH2
        options = {key: value for key, value in raw.items() if key not in _OWN_KEYS}
        if is_token and scope and scope not in SCOPES:
            options["oauth_scope"] = scope
        return cls(
            provider=provider,
            credential=_text(raw.get("credential")) if is_token else credential_named(raw),
            reference=str(raw.get("name") or ""),
            references={key: str(place) for key, place in references.items()}
            if isinstance(references, dict)
            else None,
            options=options if provider else {},
            is_shared=is_token and scope != "local",
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
