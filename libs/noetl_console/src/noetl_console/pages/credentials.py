"""Credentials: their names and rights; never their data."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from noetl_contract.http.secrets.credentials import CredentialListAnswer
from noetl_contract.json import Json

from noetl_console.api import Api, Refused, segment
from noetl_console.drawing.forms import json_object
from noetl_console.requests import BadField, Page, PageRequest, Redirect

TYPES = MappingProxyType(
    {
        "postgres": "db_host, db_port, db_user, db_password, db_name",
        "bearer": "token",
        "api_key": "api_key, header",
        "basic": "username, password",
        "nats": "nats_url, nats_user, nats_password",
        "generic": "any, named through a playbook's keychain",
    }
)
"""Types that are offered, with the fields of their data."""
_FIELDS = ("name", "type", "data", "description", "allowed_paths", "allowed_hosts")


async def credentials(api: Api, request: PageRequest) -> Page:
    """List credentials without their data."""
    return await _page(api, request.query.get("q", "").strip(), {"type": "generic"})


async def _page(api: Api, text: str, typed: Mapping[str, str], problem: str = "") -> Page:
    found = await api.read(CredentialListAnswer, "credentials", q=text)
    return Page(
        "credentials.html",
        {
            "items": found.items,
            "q": text,
            "types": TYPES,
            "typed": {name: typed.get(name, "") for name in _FIELDS},
            "problem": problem,
        },
        title="Credentials",
        status=422 if problem else 200,
    )


async def store(api: Api, request: PageRequest) -> Page | Redirect:
    """Store a credential, or replace the one of its name; a refused one is shown for repair."""
    typed = {name: request.field(name) for name in _FIELDS}
    try:
        await api.send(dict[str, Any], "credentials", _body(typed))
    except BadField as bad:
        return await _page(api, "", typed, bad.text)
    except Refused as refused:
        if refused.status not in {400, 422}:
            raise
        return await _page(api, "", typed, refused.text)
    return Redirect("/console/credentials")


def _body(typed: Mapping[str, str]) -> dict[str, Json]:
    name = typed["name"].strip()
    if not name:
        raise BadField("Name: a value is needed")
    data = _data(typed["data"])
    if not data:
        raise BadField("Data: a field with a value is needed")
    body: dict[str, Json] = {"name": name, "type": typed["type"].strip() or "generic", "data": data}
    if description := typed["description"].strip():
        body["description"] = description
    for key in ("allowed_paths", "allowed_hosts"):
        given = [part for part in typed[key].replace(",", " ").split() if part]
        if given:
            body[key] = given
    return body


def _data(text: str) -> dict[str, Json]:
    """Return the fields of a JSON object or of lines; no error quotes any of them."""
    if text.lstrip().startswith(("{", "[", '"')):
        return dict(json_object(text, label="Data"))
    found: dict[str, Json] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise BadField(f"Data: line {number} is not NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


async def delete(api: Api, request: PageRequest) -> Redirect:
    """Delete a credential."""
    await api.send(
        dict[str, Any], f"credentials/{segment(request.names['id'])}", None, method="DELETE"
    )
    return Redirect("/console/credentials")
