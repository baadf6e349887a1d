"""A credential as the control plane hands it out."""

from dataclasses import dataclass, field
from typing import Final

from noetl_contract.json import Json, JsonObject

from noetl_worker.tools.tool import ToolError

KEYCHAIN: Final = "keychain"
"""The type of values that a provider gave for an entry of a playbook's keychain."""


class CredentialError(ToolError):
    """An alias can't be resolved; the text is the contract's, without a prefix."""

    def __init__(self, text: str, *, is_missing: bool = False) -> None:
        super().__init__("", "")
        self.args = (text,)
        self.is_missing = is_missing


@dataclass(frozen=True, slots=True)
class Credential:
    """A type and its fields, which no representation shows."""

    alias: str
    type: str
    data: JsonObject = field(repr=False)
    allowed_hosts: tuple[str, ...] | None = None
    """Hosts that an http step may send it to; None for all."""
    text: str | None = field(default=None, repr=False)
    """The secret of a keychain entry that is one text and no fields."""

    @property
    def value(self) -> Json:
        """The credential as templates see it."""
        return self.data if self.text is None else self.text


def decode_credential(alias: str, body: Json) -> Credential:
    """Read the body of a look-up, as strictly as the original worker.

    Raises:
        CredentialError: it is of another shape; the text never quotes it.
    """
    if not isinstance(body, dict):
        raise _undecodable(alias, "the answer is not an object")
    for name in ("id", "name", "type"):
        if not isinstance(body.get(name), str):
            raise _undecodable(alias, f"`{name}` is not a string")
    data = body.get("data", {})
    text = data if isinstance(data, str) and body["type"] == KEYCHAIN else None
    if text is not None:
        data = {}
    if not isinstance(data, dict):
        raise _undecodable(alias, "`data` is not an object")
    tags = body.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise _undecodable(alias, "`tags` is not a list of strings")
    hosts = body.get("allowed_hosts")
    if hosts is not None and not (
        isinstance(hosts, list) and all(isinstance(host, str) for host in hosts)
    ):
        raise _undecodable(alias, "`allowed_hosts` is not a list of strings")
    return Credential(
        alias=alias,
        type=body["type"],
        data=data,
        allowed_hosts=None if hosts is None else tuple(hosts),
        text=text,
    )


def _undecodable(alias: str, reason: str) -> CredentialError:
    return CredentialError(f"credential '{alias}' can't be decoded: {reason}")
