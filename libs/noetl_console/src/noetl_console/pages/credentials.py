"""Credentials: their names and who may use them; never their data."""

from typing import Any

from noetl_contract.http.secrets.credentials import CredentialListAnswer

from noetl_console.api import Api, segment
from noetl_console.drawing.forms import json_object
from noetl_console.requests import BadField, Page, PageRequest, Redirect


async def credentials(api: Api, request: PageRequest) -> Page:
    """List credentials without their data."""
    text = request.query.get("q", "").strip()
    found = await api.read(CredentialListAnswer, "credentials", q=text)
    return Page("credentials.html", {"items": found.items, "q": text}, title="Credentials")


async def store(api: Api, request: PageRequest) -> Redirect:
    """Store a credential, or replace the one of its name."""
    name = request.field("name").strip()
    if not name:
        raise BadField("Name: a value is needed")
    data = json_object(request.field("data"), label="Data")
    if not data:
        raise BadField("Data: an object with the secret values is needed")
    body: dict[str, Any] = {
        "name": name,
        "type": request.field("type").strip() or "generic",
        "data": dict(data),
    }
    if description := request.field("description").strip():
        body["description"] = description
    for key in ("allowed_paths", "allowed_hosts"):
        given = [part for part in request.field(key).replace(",", " ").split() if part]
        if given:
            body[key] = given
    await api.send(dict[str, Any], "credentials", body)
    return Redirect("/console/credentials")


async def delete(api: Api, request: PageRequest) -> Redirect:
    """Delete a credential."""
    await api.send(
        dict[str, Any], f"credentials/{segment(request.names['id'])}", None, method="DELETE"
    )
    return Redirect("/console/credentials")
