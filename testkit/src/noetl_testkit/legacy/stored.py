"""Documents, credentials, keychains and workers of the stand-in."""

from collections.abc import Callable, Iterator
from typing import Protocol

from noetl_contract.json import Json, JsonObject
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import compose, to_json

from noetl_testkit.legacy.answers import now, refused
from noetl_testkit.web import Request, Response

type Route = tuple[str, str, Callable[..., Response]]


class MakesIds(Protocol):
    """Makes application ids."""

    def next(self) -> int:
        """Return a new one."""


class Documents:
    """The catalog: every registration is a new version."""

    def __init__(self, ids: MakesIds) -> None:
        self._ids = ids
        self.entries: list[JsonObject] = []

    def routes(self) -> Iterator[Route]:
        """Return its routes."""
        yield "POST", "/api/catalog/register", self._register
        yield "POST", "/api/catalog/list", self._list
        yield "POST", "/api/catalog/resource", self._resource

    def newest(self, path: str) -> JsonObject | None:
        """Return the newest version of a path."""
        found = [one for one in self.entries if one["path"] == path]
        return max(found, key=lambda one: int(one["version"])) if found else None

    def _register(self, request: Request) -> Response:
        content = str(request.json["content"])
        try:
            tree: Json = to_json(compose(content))
        except DecodeError as error:
            return refused(422, f"Invalid YAML: {error}")
        if not isinstance(tree, dict) or "metadata" not in tree:
            return refused(422, "Missing 'metadata' section")
        metadata = tree["metadata"]
        path = metadata.get("path") or metadata.get("name")
        if not isinstance(path, str):
            return refused(422, "Missing 'path' or 'name' in metadata")
        kind = str(tree.get("kind") or request.json.get("resource_type", "Playbook")).lower()
        before = self.newest(path)
        entry: JsonObject = {
            "catalog_id": str(self._ids.next()),
            "path": path,
            "kind": kind,
            "version": int(before["version"]) + 1 if before else 1,
            "content": content,
            "layout": tree.get("workflow"),
            "payload": tree.get("workload"),
            "meta": metadata.get("labels"),
            "created_at": now(),
        }
        self.entries.append(entry)
        said = f"Resource '{path}' version '{entry['version']}' registered."
        entry_fields = {name: entry[name] for name in ("path", "version", "catalog_id", "kind")}
        return Response({"status": "success", "message": said, **entry_fields})

    def _list(self, request: Request) -> Response:
        kind = (request.json or {}).get("resource_type")
        found = [one for one in reversed(self.entries) if kind is None or one["kind"] == kind]
        return Response({"entries": found})

    def _resource(self, request: Request) -> Response:
        path, version = request.json.get("path"), request.json.get("version")
        found = self.newest(str(path))
        if found is None:
            return refused(404, f"Catalog entry '{path}' not found")
        if version not in {None, "latest"}:
            known = (one for one in self.entries if one["path"] == path)
            found = next((one for one in known if str(one["version"]) == str(version)), None)
            if found is None:
                return refused(404, f"Catalog entry '{path}' version {version} not found")
        return Response(found)


class Credentials:
    """Credentials by name."""

    def __init__(self, ids: MakesIds) -> None:
        self._ids = ids
        self._known: dict[str, JsonObject] = {}

    def routes(self) -> Iterator[Route]:
        """Return its routes."""
        yield "POST", "/api/credentials", self._put
        yield "GET", "/api/credentials", self._list
        yield "GET", "/api/credentials/(?P<name>[^/]+)", self._get
        yield "DELETE", "/api/credentials/(?P<name>[^/]+)", self._delete

    def _put(self, request: Request) -> Response:
        body = request.json
        before = self._known.get(body["name"])
        kept = {
            "id": before["id"] if before else str(self._ids.next()),
            "name": body["name"],
            "type": body["type"],
            **{name: body[name] for name in ("meta", "tags", "description") if name in body},
            "data": body["data"],
            "created_at": before["created_at"] if before else now(),
            "updated_at": now(),
        }
        self._known[body["name"]] = kept
        return Response(_without_data(kept))

    def _list(self, _request: Request) -> Response:
        return Response({"items": [_without_data(one) for one in reversed(self._known.values())]})

    def _find(self, name: str) -> JsonObject | None:
        by_id = (one for one in self._known.values() if one["id"] == name)
        return next(by_id, None) or self._known.get(name)

    def _get(self, request: Request, name: str) -> Response:
        found = self._find(name)
        if found is None:
            return refused(404, f"Credential '{name}' not found")
        shown = request.query.get("include_data") == "true"
        return Response(found if shown else _without_data(found))

    def _delete(self, _request: Request, name: str) -> Response:
        found = self._find(name)
        if found is None:
            return refused(404, f"Credential '{name}' not found")
        del self._known[found["name"]]
        return Response({"id": found["id"], "message": "Credential deleted successfully"})


class Keychains:
    """Entries of keychains by document, name and scope."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], JsonObject] = {}

    def routes(self) -> Iterator[Route]:
        """Return its routes."""
        yield "GET", r"/api/keychain/catalog/(?P<number>\d+)", self._list
        yield "POST", r"/api/keychain/(?P<number>\d+)/(?P<name>[^/]+)", self._put
        yield "GET", r"/api/keychain/(?P<number>\d+)/(?P<name>[^/]+)", self._get

    def _put(self, request: Request, number: str, name: str) -> Response:
        body = request.json
        scope = body.get("scope_type", "global")
        self._known[number, name, scope] = {
            "data": body["data"],
            "expires_at": body["expires_at"],
            "auto_renew": body.get("auto_renew", False),
            "execution_id": body.get("execution_id"),
        }
        return Response({"status": "success", "cache_key": f"{name}:{number}:{scope}"})

    def _get(self, request: Request, number: str, name: str) -> Response:
        found = self._known.get((number, name, request.query.get("scope_type", "global")))
        if found is None:
            return Response({"status": "not_found"})
        shown = ("data", "expires_at", "auto_renew")
        return Response({"status": "found", **{one: found[one] for one in shown}})

    def _list(self, _request: Request, number: str) -> Response:
        entries: list[Json] = []
        for (owner, name, scope), found in self._known.items():
            if owner != number:
                continue
            entry = {"keychain_name": name, "scope_type": scope, "expired": False,
                     "expires_at": found["expires_at"], "access_count": 0}  # fmt: skip
            if found["execution_id"] is not None:
                entry["execution_id"] = str(found["execution_id"])
            entries.append(entry)
        return Response({"catalog_id": number, "entries": entries})


class Workers:
    """Registrations of workers."""

    def __init__(self, ids: MakesIds) -> None:
        self._ids = ids
        self._known: dict[str, JsonObject] = {}

    def routes(self) -> Iterator[Route]:
        """Return its routes."""
        yield "POST", "/api/worker/pool/register", self._register
        yield "GET", "/api/worker/pools", self._list

    def _register(self, request: Request) -> Response:
        body = request.json
        self._known[body["name"]] = {
            "runtime_id": str(self._ids.next()),
            "name": body["name"],
            "kind": "worker_pool",
            "uri": body.get("uri"),
            "status": body.get("status", "ready"),
            "labels": body.get("labels"),
            "capabilities": body.get("capabilities"),
            "capacity": body.get("capacity"),
            "runtime": body.get("runtime"),
            **{name: now() for name in ("heartbeat", "created_at", "updated_at")},
        }
        return Response(self._known[body["name"]])

    def _list(self, _request: Request) -> Response:
        return Response([self._known[name] for name in sorted(self._known)])


def _without_data(known: JsonObject) -> JsonObject:
    return {name: value for name, value in known.items() if name != "data"}
