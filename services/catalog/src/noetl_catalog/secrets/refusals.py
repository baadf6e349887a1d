"""Refusals of requests about secrets: a text without context."""

from collections.abc import Mapping

from noetl_common.bus.rpc import RpcHandler
from noetl_common.errors import NoetlError, Transient
from noetl_common.logging import get_logger
from noetl_contract.rpc import RpcReply
from pydantic import ValidationError

from noetl_catalog.rpc import by_subject, refused

_log = get_logger()


def secret_routes(handlers: Mapping[str, RpcHandler]) -> dict[str, RpcHandler]:
    """Return handlers by subject whose errors carry no context: it may hold a secret."""
    return by_subject({name: _plain(name, handler) for name, handler in handlers.items()})


def _plain(name: str, handler: RpcHandler) -> RpcHandler:
    async def answer(request: dict[str, object]) -> RpcReply | dict[str, object] | bytes:
        try:
            return await handler(request)
        except NoetlError as error:
            if error.http_status >= 500 and not isinstance(error, Transient):
                _log.error("secret_request_failed", operation=name, error=error.message)
            return refused(error.http_status, error.message)
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, problem['loc'])) or 'request'}: {problem['msg']}"
                for problem in error.errors(
                    include_url=False, include_context=False, include_input=False
                )
            )
            return refused(422, "; ".join(problems))

    return answer
