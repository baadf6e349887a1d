"""The routes that are used most answer alike past the framework and through it."""

from typing import Any

import orjson
from noetl_api_gateway.direct_routes import DirectRoutes
from noetl_api_gateway.routes.registry import BUSY

from ..conftest import EXECUTION_ID, make_world

_EVENT = {"execution_id": EXECUTION_ID, "event_type": "call.done", "step": "start", "event_id": 5}
_SENT: dict[tuple[str, str], list[object]] = {
    ("POST", "/api/events"): [_EVENT, {**_EVENT, "step": 7}, [], b"{", b"x" * 5000],
    ("POST", "/api/events/batch"): [{"execution_id": EXECUTION_ID, "worker_id": "w", "events": []}],
    ("POST", "/api/commands/{event_id}/reports"): [{}, {"type": "outcome"}],
    ("POST", "/api/commands/{event_id}/claim"): [{"worker_id": "w"}, {}],
    ("POST", "/api/worker/pool/heartbeat"): [{"name": "w"}, {"name": 7}],
    ("POST", "/api/execute"): [{"path": "demo/hello", "version": []}, {"path": 7}],
    ("GET", "/api/executions/{execution_id}"): [None],
    ("GET", "/api/executions/{execution_id}/status"): [None],
}


async def _answers(nats_url: str, *, is_direct: bool) -> list[tuple[int, dict[str, str], bytes]]:
    """Return status, headers and body of the answer to each request."""
    found = []
    async with make_world(nats_url, direct_routes=is_direct) as world:
        routes: Any = world.shell._app
        assert isinstance(routes, DirectRoutes)
        assert bool(routes._fixed or routes._open) == is_direct
        world.backend.answer("executions.get", {"execution_id": EXECUTION_ID, "events": []})
        world.backend.answer("executions.status", {"execution_id": EXECUTION_ID})
        world.backend.answer("claim", {"status": "ok"})
        for (method, template), bodies in _SENT.items():
            path = template.replace("{event_id}", "5").replace("{execution_id}", str(EXECUTION_ID))
            for body in bodies:
                content = body if isinstance(body, bytes) else orjson.dumps(body)
                for kind in ("application/json", "text/plain"):
                    answer = await world.client.request(
                        method,
                        path,
                        content=None if body is None else content,
                        headers={"content-type": kind},
                    )
                    headers = dict(answer.headers)
                    headers.pop("date")
                    found.append((answer.status_code, headers, answer.content))
    return found


def test_each_of_them_is_tried() -> None:
    assert set(_SENT) == set(BUSY)


async def test_both_ways_answer_alike(nats_url: str) -> None:
    direct = await _answers(nats_url, is_direct=True)
    through = await _answers(nats_url, is_direct=False)

    assert direct == through
    assert {200, 415, 422} <= {status for status, _, _ in direct}
