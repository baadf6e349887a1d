"""Headers of requests: until when the answer is waited for.

A request carries a deadline (Unix milliseconds) for the books and its timeout in milliseconds
for the decision to drop it: machines' clocks differ, and the wait that matters is the wait in
the server's own queue.
"""

from collections.abc import Mapping

from noetl_common.clock import unix_ms
from noetl_contract.ingress import DEADLINE_HEADER, deadline_of

SEAL_HEADER = "Noetl-Seal-For"
"""Public key, base64, for which the answer to a request for a secret is sealed."""
_PATIENCE = "Noetl-Patience-Ms"


def headers_of(seconds: float) -> dict[str, str]:
    """Return the headers of a request whose answer is waited for so long."""
    timeout = max(1, int(seconds * 1000))
    return {DEADLINE_HEADER: str(unix_ms() + timeout), _PATIENCE: str(timeout)}


def is_late(headers: Mapping[str, str] | None, *, waited_seconds: float) -> bool:
    """Return whether the wait for the answer is over, after a time in the server's queue."""
    if not headers:
        return False
    timeout = headers.get(_PATIENCE, "")
    if timeout.isdigit():
        return waited_seconds * 1000 >= int(timeout)
    deadline = deadline_of(headers)
    return deadline is not None and unix_ms() > deadline
