"""Holders of tokens in bodies or addresses, where pages can't send a header."""

import math
from typing import TYPE_CHECKING

from noetl_contract.access.principal import EVERYWHERE, Principal
from noetl_contract.access.rights import Role

from noetl_api_gateway.access.gatekeeper import gatekeeper_of
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.rate_guard import LOGINS_STATE, too_often
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.intake.peers import address_of

if TYPE_CHECKING:
    from noetl_api_gateway.rates import FailedLogins

LOCAL = Principal(name="local", kind="nobody", roles=(Role.ADMIN,), namespaces=(EVERYWHERE,))
"""The principal of all callers, where no login is needed."""
_LONGEST = 16_384


def owner_of(who: Principal | None) -> str:
    """Return kind and name of a caller, under which requests of its pages are stored."""
    found = LOCAL if who is None else who
    return f"{found.kind}:{found.name}"


async def holder_of(request: AnyRequest, token: str) -> Principal | None:
    """Return the holder of a token; None for an unknown token.

    Raises:
        Refusal: 429, too many unknown tokens from this address; 503, it can't be looked up now.
    """
    gatekeeper = gatekeeper_of(request)
    if gatekeeper is None:
        return LOCAL
    if not token or not token.isascii() or len(token) > _LONGEST:
        return None
    logins: FailedLogins | None = request.app.state.get(LOGINS_STATE)
    address, mark = address_of(request.scope), token.encode()
    if logins is not None and (seconds := logins.wait(address, mark)):
        raise too_often(f"Too many failed logins of this address: {math.ceil(seconds)} s", seconds)
    try:
        found = await gatekeeper.identities.behind(token)
    except Refusal as refusal:
        if refusal.status != 401:
            raise
        found = None
    if logins is not None:
        logins.note(address, mark, is_good=found is not None)
    return found
