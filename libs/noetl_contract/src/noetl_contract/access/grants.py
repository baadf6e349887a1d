"""Grants: rights of callers that a JWT, a session or a certificate proves."""

from typing import Literal

from pydantic import AwareDatetime, Field

from noetl_contract.access.principal import EVERYWHERE, OnBehalf
from noetl_contract.access.rights import Right, Role
from noetl_contract.model import Model, example


class GrantWish(Model):
    """A requested grant, which replaces the grant for the same claim.

    Attributes:
        kind: what has to be proven.
        issuer: of the JWT; empty for every issuer that the edge trusts.
        claim: ``sub:<subject>``, or a claim and one of its values, as ``groups:ops``.
        rank: of the grants that fit, those of the lowest rank count, together where they have
            the same namespaces and pools.
    """

    model_config = example(
        kind="jwt", issuer="https://login.example.com/", claim="groups:ops", roles=["operator"]
    )

    kind: Literal["jwt", "session", "certificate"]
    issuer: str = Field(default="", max_length=500)
    claim: str = Field(min_length=3, max_length=500)
    rank: int = Field(default=100, ge=0, le=1_000_000)
    roles: tuple[Role, ...] = ()
    grants: tuple[Right, ...] = ()
    namespaces: tuple[str, ...] = (EVERYWHERE,)
    pools: tuple[str, ...] = ()


class GrantPut(GrantWish, OnBehalf):
    """A grant to store."""


class GrantBody(Model):
    """A stored grant."""

    grant_id: str
    kind: Literal["jwt", "session", "certificate"]
    issuer: str
    claim: str
    rank: int
    roles: tuple[Role, ...]
    grants: tuple[Right, ...] = ()
    namespaces: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    created_at: AwareDatetime
    created_by: str | None = None


class GrantListRequest(OnBehalf):
    """Request of all grants."""


class GrantList(Model):
    """Grants, by kind and rank."""

    grants: list[GrantBody]


class GrantName(OnBehalf):
    """The grant to delete."""

    grant_id: str


class GrantDeleted(Model):
    """Answer to the deletion of a grant."""

    grant_id: str
