"""Headers of requests: the deadline of a request, and its timeout.

A request contains a deadline (Unix milliseconds) for information and a timeout in milliseconds. The
server decides by the timeout whether to drop the request: the clocks of machines differ, and a
request mostly waits in the queue of the server.
"""

from collections.abc import Mapping

from noetl_common.clock import unix_ms
from noetl_contract.ingress import DEADLINE_HEADER, deadline_of

SEAL_HEADER = "Noetl-Seal-For"
"""Header with the public key (base64) for which the answer with a secret is sealed."""
_TIMEOUT_HEADER = "Noetl-Patience-Ms"


def headers_of(seconds: float) -> dict[str, str]:
    """Return the headers of a request with a timeout."""
    timeout = max(1, int(seconds * 1000))
    return {DEADLINE_HEADER: str(unix_ms() + timeout), _TIMEOUT_HEADER: str(timeout)}


def is_late(headers: Mapping[str, str] | None, *, waited_seconds: float) -> bool:
    """Return whether a request has timed out after its wait in the server's queue."""
    if not headers:
        return False
    timeout = headers.get(_TIMEOUT_HEADER, "")
    if timeout.isdigit():
        return waited_seconds * 1000 >= int(timeout)
    deadline = deadline_of(headers)
    return deadline is not None and unix_ms() > deadline
