"""Kinds of tools that playbooks may name, but our workers don't run."""

from typing import Final

from noetl_contract.tools.keys import ToolKind

_INSTEAD: Final = {
    "gateway": "the word is accepted by the language, but no worker runs it",
    "gcs": "use http with auth type gcp_adc",
    "iterator": "use the step's loop",
    "playbooks": "use playbook",
    "rhai": "nothing maintained runs that language in Python; use python or shell",
    "secrets": "name a credential in auth, or use the playbook's keychain",
    "snowflake_transfer": "use transfer",
}
_ELSEWHERE: Final = frozenset({"rhai"})
UNSUPPORTED: Final = tuple(
    ToolKind(
        name=name,
        description="Not run by our workers.",
        is_open=True,
        instead=advice,
        is_run_elsewhere=name in _ELSEWHERE,
    )
    for name, advice in _INSTEAD.items()
)
