"""Links of waits: signed addresses, usable without a login, each good for one answer."""

import secrets
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from litestar import Response
from litestar.params import FromPath
from noetl_common.clock import unix_ms
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.waits import (
    LinkAnswer,
    LinkRequest,
    LinkUse,
    WaitEntry,
)
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.scalars import parse_i64
from noetl_contract.ingress import SignalMessage
from noetl_contract.json import JsonObject
from noetl_contract.rpc.projector import EXECUTIONS_EXISTS, ExecutionName, WaitsPage
from noetl_contract.waits.form import Form, read_form, typed
from noetl_contract.waits.links import Link, opened_link, sealed_link
from noetl_contract.waits.times import seconds_of

from noetl_api_gateway.access.gatekeeper import principal_of
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, decode, is_json, read_bytes, without_nul
from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.decoding import validated
from noetl_api_gateway.http.fields import path_id, path_text
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.routes.waits.page import form_page, message_page
from noetl_api_gateway.routes.waits.signals import signalled, waits_of

TOPIC = Topic("waits")
_WEEK_SECONDS = 604_800.0
_MOST_WAITS = 500
_MOST_FIELDS = 200
_INVALID = "This link is not valid. It may have been cut when it was copied."
_OVER = "This link is no longer valid: its time is over. Ask for a new one."
_NOTHING = "Nothing waits for this answer now: it was given already, or it is not asked for yet."


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/waits/{wait:str}/links",
    LinkAnswer,
    body=LinkRequest,
    is_body_required=False,
    needs=Right.EXECUTIONS_LINK,
    summary="Make a link that ends a wait, once, without a login",
    status=201,
    errors={
        404: "No wait of step 'review' is open; name its signal for a link that is used later",
        409: "3 waits of step 'review' are open; say which iteration",
        422: "expires_in: 'soon' is not a duration like 90, 90s, 15m, 4h, 3d, 2w or 1d 12h",
    },
)
async def make_link(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str], wait: FromPath[str]
) -> Response[bytes]:
    """Make a link for a wait, named by its id, or by its step before it begins."""
    number = path_id(execution_id, index=0)
    name = path_text(request, wait, name="wait")
    content = await read_bytes(request)
    sent = validated(LinkRequest, decode(content) if content.strip() else {})
    key = _key(gateway)
    principal = principal_of(request)
    by = sent.by or (None if principal is None else principal.name)
    link = await _link(gateway, number, name, sent)
    link = link.model_copy(update={"f": by, "p": sent.payload})
    try:
        text = sealed_link(link, key)
    except ValueError as error:
        raise Refusal(422, str(error)) from error
    answer = LinkAnswer(
        id=link.k,
        link=text,
        url=f"{gateway.settings.public_server_url.rstrip('/')}/api/links/{text}",
        expires_at=rfc3339(datetime.fromtimestamp(link.x, UTC)),
    )
    return json_answer(request, answer, status=201)


async def _link(gateway: Gateway, execution_id: int, name: str, sent: LinkRequest) -> Link:
    try:
        seconds = _WEEK_SECONDS if sent.expires_in is None else seconds_of(sent.expires_in)
    except ValueError as error:
        raise Refusal(422, f"expires_in: {error}") from error
    link = Link(
        e=execution_id,
        s=sent.signal or "",
        k=secrets.token_hex(8),
        x=unix_ms() // 1000 + int(seconds),
        i=sent.iteration,
    )
    wait_id = parse_i64(name)
    page = WaitsPage(execution_id=execution_id, kind="wait", limit=_MOST_WAITS)
    found = [
        one
        for one in (await waits_of(gateway, page)).waits
        if (one.wait_id == name if wait_id is not None else one.step == name)
        and sent.iteration in {None, one.iteration}
        and sent.signal in {None, one.signal}
    ]
    if len(found) == 1:
        wait = found[0]
        changes = {"s": wait.signal, "t": wait.step, "i": wait.iteration, "w": int(wait.wait_id)}
        return link.model_copy(update=changes)
    if found:
        text = f"{len(found)} waits of step '{name[:100]}' are open; say which iteration"
        raise Refusal(409, text)
    if wait_id is not None:
        raise Refusal(404, f"Wait not found: {name}")
    there = await gateway.services.ask(
        EXECUTIONS_EXISTS, ExecutionName(execution_id=execution_id), execution_id=execution_id
    )
    if not there.exists:
        raise Refusal(404, f"Execution not found: {execution_id}")
    if sent.signal is None:
        text = f"No wait of step '{name[:100]}' is open"
        raise Refusal(404, f"{text}; name its signal for a link that is used later")
    return link.model_copy(update={"t": name})


@TOPIC.route(
    "GET /api/links/{link:str}",
    str,
    needs=Right.PUBLIC,
    summary="Show what a link asks; this decides nothing, so a scanner of mails may open it",
    content_type="text/html",
    others={404: str, 410: str},
)
async def show_link(
    request: AnyRequest, gateway: OpenGateway, link: FromPath[str]
) -> Response[bytes]:
    """Show the page of a link."""
    opened = _opened(gateway, path_text(request, link, name="link"))
    if isinstance(opened, Response):
        return opened
    wait = await _waiting(gateway, opened)
    if wait is None:
        return message_page("Nothing to answer", _NOTHING)
    return form_page(wait, _asked(wait, opened), decided=opened.p)


@TOPIC.route(
    "POST /api/links/{link:str}",
    str,
    body=LinkUse,
    is_body_required=False,
    needs=Right.PUBLIC,
    summary="Answer by a link, once",
    content_type="text/html",
    others={404: str, 409: str, 410: str},
)
async def use_link(
    request: AnyRequest, gateway: OpenGateway, link: FromPath[str]
) -> Response[bytes]:
    """Send the answer of a link's page."""
    opened = _opened(gateway, path_text(request, link, name="link"))
    if isinstance(opened, Response):
        return opened
    wait = await _waiting(gateway, opened)
    form = () if wait is None else _asked(wait, opened)
    said, values = await _said(request, form)
    message = SignalMessage(
        execution_id=opened.e,
        name=opened.s,
        signal_id=f"link:{opened.k}",
        payload={**values, **opened.p},
        step=opened.t,
        iteration=opened.i,
        wait_id=opened.w,
        actor=f"link:{opened.f or opened.k}",
    )
    try:
        answer = await signalled(gateway, message)
    except Refusal as refusal:
        if refusal.status == 422 and wait is not None and isinstance(refusal.detail, dict):
            problems = refusal.detail.get("fields") or {"": refusal.text}
            return form_page(wait, form, decided=opened.p, values=said, problems=problems)
        if refusal.status not in {404, 409, 422}:
            raise
        return message_page("Nothing to answer", _NOTHING, status=refusal.status)
    how = "" if answer.status == "taken" else " It is kept until it is asked for."
    return message_page("Thank you", f"Your answer has been recorded.{how}")


def _key(gateway: Gateway) -> bytes:
    key = gateway.settings.command_key_bytes()
    if not key:
        raise Refusal(501, "Links need a key to be signed with: set NOETL_COMMAND_KEY")
    return key


def _opened(gateway: Gateway, text: str) -> Link | Response[bytes]:
    link = opened_link(text, _key(gateway))
    if link is None:
        return message_page("Not valid", _INVALID, status=404)
    if link.x * 1000 < unix_ms():
        return message_page("Not valid", _OVER, status=410)
    return link


async def _waiting(gateway: Gateway, link: Link) -> WaitEntry | None:
    """Return the wait that a link may end now."""
    page = WaitsPage(execution_id=link.e, kind="wait", signal=link.s, limit=_MOST_WAITS)
    with as_the_edge():
        found = await waits_of(gateway, page)
    return next(
        (
            one
            for one in found.waits
            if link.w in {None, int(one.wait_id)}
            and link.t in {None, one.step}
            and link.i in {None, one.iteration}
        ),
        None,
    )


def _asked(wait: WaitEntry, link: Link) -> Form:
    """Return the fields that the link leaves open."""
    return [field for field in read_form(wait.form) if field.name not in link.p]


async def _said(request: AnyRequest, form: Form) -> tuple[dict[str, str], JsonObject]:
    """Return the typed texts of a form, and their values; a JSON body has the values only."""
    body = await read_bytes(request)
    if is_json(request.headers.get("content-type")):
        return {}, validated(LinkUse, decode(body)).payload
    said = _typed(body)
    values = {field.name: typed(field, said.get(field.name, "")) for field in form}
    return said, {name: value for name, value in values.items() if value is not None}


def _typed(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Refusal(400, "The form can't be read") from error
    return {name: without_nul(value) for name, value in pairs}
