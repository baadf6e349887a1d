"""A server with the few calls of a cluster that the container tool makes: no cluster.

It keeps objects, refuses a name twice, and streams changes to watches. Tests play its controllers
and kubelets: they say how a pod and its Job end.
"""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

MOMENT = "2026-01-01T00:00:00Z"


@dataclass
class Cluster:
    """Objects by kind and name, in one namespace."""

    url: str = ""
    version: int = 1
    objects: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {"jobs": {}, "pods": {}, "secrets": {}}
    )
    watches: list[tuple[str, web.StreamResponse]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    log: bytes = b""
    refuses: str = ""
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def tell(self, kind: str, change: str, one: dict[str, Any]) -> None:
        """Give an object its next version and stream the change."""
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)
        line = orjson.dumps({"type": change, "object": one}) + b"\n"
        for watched, stream in list(self.watches):
            if watched == kind:
                await stream.write(line)

    async def put(self, kind: str, one: dict[str, Any], change: str = "MODIFIED") -> None:
        """Keep an object as it is now."""
        self.objects[kind][one["metadata"]["name"]] = one
        await self.tell(kind, change, one)

    async def run(self, name: str, state: dict[str, Any], **status: Any) -> None:
        """Let the pod of a Job have a container in some state."""
        job = self.objects["jobs"][name]
        container = {"name": "main", "state": state, "image": "i", "imageID": "i", "ready": False,
                     "restartCount": 0}  # fmt: skip
        labels = {**job["spec"]["template"]["metadata"]["labels"], "job-name": name}
        meta = {"name": f"{name}-x", "labels": labels, "creationTimestamp": MOMENT,
                "namespace": job["metadata"]["namespace"]}  # fmt: skip
        await self.put(
            "pods",
            {"metadata": meta, "status": {"containerStatuses": [container], **status}},
            "ADDED",
        )

    async def wait(self, name: str, condition: dict[str, Any]) -> None:
        """Let the pod of a Job wait for a node."""
        await self.run(name, {"waiting": {}}, conditions=[condition])
        self.objects["pods"][f"{name}-x"]["status"]["containerStatuses"] = None
        await self.put("pods", self.objects["pods"][f"{name}-x"])

    async def end(self, name: str, kind: str = "Complete", reason: str = "") -> None:
        """Let a Job end."""
        job = self.objects["jobs"][name]
        condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": MOMENT}
        counts = {"succeeded" if kind == "Complete" else "failed": 1}
        job["status"] = {**counts, "conditions": [condition]}
        await self.put("jobs", job)

    async def exit(self, name: str, code: int, word: str = "Completed") -> None:
        """Let a container end with a code, and with it its Job."""
        ended = {"exitCode": code, "reason": word, "startedAt": MOMENT, "finishedAt": MOMENT}
        await self.run(name, {"terminated": ended})
        await self.end(name, "Failed" if code else "Complete", "BackoffLimitExceeded")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as an API server does."""
        assert request.headers["authorization"] == "Bearer t0ken"
        kind, name = request.match_info["kind"], request.match_info.get("name", "")
        if request.path.endswith("/log"):
            self.calls["log"] += 1
            return web.Response(body=self.log)
        watches = request.query.get("watch") == "true"
        self.calls[f"{'WATCH' if watches else request.method} {kind}"] += 1
        if watches:
            return await self.watch(request, kind)
        if request.method == "POST":
            return await self.create(kind, orjson.loads(await request.read()))
        if not name:
            labels = dict(
                one.split("=") for one in request.query["labelSelector"].split(",") if "=" in one
            )
            items = [
                one
                for one in self.objects[kind].values()
                if labels.items() <= one["metadata"]["labels"].items()
            ]
            meta = {"resourceVersion": str(self.version)}
            return web.json_response({"kind": "List", "metadata": meta, "items": items})
        one = self.objects[kind].get(name)
        if one is None:
            return refusal(404, f'{kind} "{name}" not found')
        if request.method == "DELETE":
            del self.objects[kind][name]
            self.objects["secrets"].pop(name, None)
            await self.tell(kind, "DELETED", one)
        elif request.method == "PATCH":
            change = orjson.loads(await request.read())
            one["metadata"]["annotations"] |= change["metadata"]["annotations"]
            one["spec"] |= change.get("spec", {})
            await self.put(kind, one)
        return web.json_response(one)

    async def create(self, kind: str, one: dict[str, Any]) -> web.Response:
        name = one["metadata"]["name"]
        if kind == self.refuses:
            return refusal(403, f"{kind} is forbidden: no right to create")
        if name in self.objects[kind]:
            return refusal(409, f'{kind} "{name}" already exists')
        one["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": MOMENT}
        for key, value in one.pop("stringData", {}).items():
            one.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        await self.put(kind, one, "ADDED")
        return web.json_response(one, status=201)

    async def watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"content-type": "application/json"})
        await stream.prepare(request)
        self.watches.append((kind, stream))
        try:
            await self.closing.wait()
        finally:
            self.watches.remove((kind, stream))
        return stream

    def cut(self) -> None:
        """Break all watches."""
        for _, stream in self.watches:
            transport = stream._req.transport if stream._req is not None else None
            if transport is not None:
                transport.abort()


def refusal(status: int, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "message": message, "code": status}
    return web.Response(
        body=orjson.dumps(body), status=status, headers={"content-type": "application/json"}
    )


@asynccontextmanager
async def running_cluster() -> AsyncIterator[Cluster]:
    """Serve on loopback until the block ends."""
    cluster = Cluster()
    app = web.Application()
    for group in ("/apis/batch/v1", "/api/v1"):
        base = f"{group}/namespaces/{{space}}/{{kind}}"
        for path in (base, f"{base}/{{name}}", f"{base}/{{name}}/log"):
            app.router.add_route("*", path, cluster.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    cluster.url = f"http://{host}:{port}"
    try:
        yield cluster
    finally:
        cluster.closing.set()
        await runner.cleanup()
