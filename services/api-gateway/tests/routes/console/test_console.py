"""The console over HTTP: login, accepted forms, and the resources that pages may load."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from noetl_console.routes import CONSOLE_ROUTES
from noetl_contract.access.rights import Role

from ...access.callers import KEYS, guarded_world
from ...conftest import EXECUTION_ID, World, make_world

FORM = {"content-type": "application/x-www-form-urlencoded"}
OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture
async def guarded(nats_url: str) -> AsyncIterator[World]:
    async with make_world(nats_url, auth="on") as made:
        yield made


async def post(world: World, path: str, body: str = "", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.client.post(path, content=body, headers={**FORM, **sent})


async def test_a_browser_is_led_to_the_console_and_others_are_not(world: World) -> None:
    browser = await world.client.get("/", headers={"accept": "text/html"})
    program = await world.client.get("/", headers={"accept": "application/json"})

    assert (browser.status_code, browser.headers["location"]) == (302, "/console")
    assert (program.status_code, program.json()["error"]) == (404, "Not Found")


async def test_pages_load_nothing_from_elsewhere(world: World) -> None:
    world.backend.answer("executions.list", [])
    world.backend.answer("dashboard.stats", {})

    page = await world.client.get("/console")
    policy = page.headers["content-security-policy"]

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert "style=" not in page.text
    assert "onclick" not in page.text
    for address in set(_loaded(page.text)):
        found = await world.client.get(address)
        assert found.status_code == 200, address
        assert "immutable" in found.headers["cache-control"]


def _loaded(text: str) -> list[str]:
    marks = ('src="', '<link rel="icon" href="', '<link rel="stylesheet" href="')
    return [part.partition('"')[0] for mark in marks for part in text.split(mark)[1:]]


async def test_pages_ask_the_api_as_the_browser_does(world: World) -> None:
    world.backend.answer("executions.list", [])

    await world.client.get("/console?status=FAILED&path=demo")

    (asked,) = world.backend.requests("executions.list")
    assert (asked["status"], asked["path"]) == ("FAILED", "demo")


async def test_what_the_api_refuses_is_a_page_with_its_status(world: World) -> None:
    page = await world.client.get("/console/runs/abc")

    assert page.status_code == 400
    assert "Cannot parse `abc`" in page.text
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("address", "path"),
    [("%2Flead%2Fx", "/lead/x"), ("a%2F%2Fb", "a//b"), ("demo/a%20b%3F", "demo/a b?")],
)
async def test_a_page_is_about_the_path_that_its_address_names(
    world: World, address: str, path: str
) -> None:
    page = await world.client.get(f"/console/playbooks/{address}")

    (asked,) = world.backend.requests("resource")
    assert asked["path"] == path
    assert page.headers["content-type"].startswith("text/html")


async def test_lines_that_are_sent_end_as_those_of_the_page(world: World) -> None:
    body = "content=a%3A+1%0D%0Ab%3A+2%0D%0A&anyway=yes"

    await post(world, "/console/edit", body, **OWN)

    (asked,) = world.backend.requests("register")
    assert asked["content"] == "a: 1\nb: 2\n"


async def test_an_action_is_a_call_of_the_api(world: World) -> None:
    answer = await post(world, f"/console/runs/{EXECUTION_ID}/cancel", "reason=enough", **OWN)

    (message,) = world.backend.ingress
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/console/runs/{EXECUTION_ID}",
    )
    assert (message["reason"], message["cascade"]) == ("enough", True)


async def test_a_form_that_is_sent_twice_starts_one_run(world: World) -> None:
    world.backend.answer("executions.origin", {"catalog_id": 9, "workload": {}})
    address = f"/console/runs/{EXECUTION_ID}/rerun"

    for body in ("once=a", "once=a", "once=b", ""):
        await post(world, address, body, **OWN)

    first, again, other, plain = (one["idempotency_key"] for one in world.backend.ingress)
    assert first == again != other
    assert first.startswith("console:")
    assert plain is None


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"origin": "http://localhost:1"},
        {"origin": "null"},
    ],
)
async def test_forms_of_other_sites_are_refused(world: World, headers: dict[str, str]) -> None:
    answer = await post(world, f"/console/runs/{EXECUTION_ID}/cancel", **headers)

    assert answer.status_code == 403
    assert world.backend.ingress == []


async def test_a_form_with_too_much_in_it_is_refused(world: World) -> None:
    body = "&".join(f"id={number}" for number in range(3000))

    answer = await post(world, "/console/runs", f"action=cancel&{body}", **OWN)

    assert answer.status_code == 422
    assert world.backend.ingress == []


async def test_a_console_for_reading_has_no_actions(nats_url: str) -> None:
    async with make_world(nats_url, console="read") as world:
        world.backend.answer("executions.list", [])

        page = await world.client.get("/console")
        edit = await world.client.get("/console/edit")
        action = await post(world, f"/console/runs/{EXECUTION_ID}/cancel", **OWN)

        assert page.status_code == 200
        assert "/console/edit" not in page.text
        assert edit.status_code in {404, 405}
        assert action.status_code in {404, 405}
        assert world.backend.ingress == []


async def test_what_is_not_there_is_a_page_with_the_way_back(world: World) -> None:
    came = {"referer": f"{world.client.base_url}/console/waits?path=a", "host": "test"}
    came["host"] = world.client.base_url.netloc.decode()

    unknown = await world.client.get("/console/nothing/of/it/")
    method = await post(world, "/console/waits", **OWN)
    foreign = await post(world, f"/console/runs/{EXECUTION_ID}/cancel", sec_fetch_site="none")
    empty = await post(world, "/console/runs", "action=cancel", **OWN, **came)
    api = await world.client.get("/api/nothing")

    for answer, status in ((unknown, 404), (method, 405), (foreign, 403), (empty, 422)):
        assert (answer.status_code, answer.headers["content-type"][:9]) == (status, "text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert 'href="/console"' in answer.text
    assert 'href="/console/waits?path=a"' in empty.text
    assert "Select at least one run first" in empty.text
    assert "sent by another site" in foreign.text
    assert api.headers["content-type"].startswith("application/json")


async def test_no_console_is_nothing(nats_url: str) -> None:
    async with make_world(nats_url, console="off") as world:
        for path in ("/", "/console", "/console/static/style.css", "/console/login"):
            found = await world.client.get(path, headers={"accept": "text/html"})
            assert found.status_code == 404, path


async def test_who_has_no_login_is_asked_for_one(guarded: World) -> None:
    page = await guarded.client.get("/console/waits?path=a")
    script = await guarded.client.get("/console/waits?path=a", headers={"hx-request": "true"})
    form = await guarded.client.get(page.headers["location"])

    assert (page.status_code, page.headers["location"]) == (
        303,
        "/console/login?next=/console/waits%3Fpath%3Da",
    )
    assert script.headers["hx-redirect"] == page.headers["location"]
    assert 'value="/console/waits?path=a"' in form.text


async def test_after_the_login_no_action_is_asked_for_as_a_page(guarded: World) -> None:
    page = await post(guarded, "/console/credentials/1/delete", **OWN)
    odd = await guarded.client.get("/console/playbooks/%2Flead%2Fx")

    assert page.headers["location"] == "/console/login?next=/console"
    assert odd.headers["location"] == "/console/login?next=/console/playbooks/%252Flead%252Fx"


async def test_a_key_that_nobody_has_is_not_let_in(guarded: World) -> None:
    guarded.backend.answer("keys.check", {"principal": None})

    answer = await post(guarded, "/console/login", "token=nk_1_wrong&next=%2Fconsole", **OWN)

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "Not let in" in answer.text


async def test_a_login_is_a_cookie_that_scripts_and_other_paths_do_not_get(world: World) -> None:
    world.backend.answer("executions.list", [])

    entered = await post(world, "/console/login", "token=nk_1_good&next=%2Fconsole%2Fwaits", **OWN)
    left = await post(world, "/console/logout", **OWN)

    kept = entered.headers["set-cookie"]
    assert (entered.status_code, entered.headers["location"]) == (303, "/console/waits")
    assert "noetl_console=nk_1_good" in kept
    for part in ("HttpOnly", "Path=/console", "SameSite=Lax"):
        assert part in kept
    assert "Max-Age=0" in left.headers["set-cookie"]


@pytest.mark.parametrize("token", ["k" * 5000, "line%0D%0ASet-Cookie: x=y", "%E2%82%AC"])
async def test_a_key_that_no_cookie_can_hold_is_refused(world: World, token: str) -> None:
    world.backend.answer("executions.list", [])

    answer = await post(world, "/console/login", f"token={token}", **OWN)

    assert answer.status_code in {401, 422}
    assert "set-cookie" not in answer.headers


async def test_the_cookie_is_the_login_of_the_pages_calls_only(nats_url: str) -> None:
    """An API route never reads it: no other page can use it."""
    cookie = {"cookie": f"noetl_console={KEYS[Role.VIEWER]}"}
    async with guarded_world(nats_url) as world:
        world.backend.answer("executions.list", [])

        page = await world.client.get("/console", headers=cookie)
        api = await world.client.get("/api/executions", headers=cookie)
        action = await post(world, f"/console/runs/{EXECUTION_ID}/cancel", **OWN, **cookie)

    assert page.status_code == 200
    assert "Log out" in page.text
    assert api.status_code == 401
    assert (action.status_code, "executions.cancel" in action.text) == (403, True)
    assert world.backend.ingress == []


async def test_no_page_and_no_action_gets_past_the_api_without_a_login(guarded: World) -> None:
    body = "content=x&id=7&action=cancel&name=n&data={}&fingerprint=f"
    for route in CONSOLE_ROUTES:
        path = "/console" + re.sub(r"{[\w:]+}", "7", route.path)
        sent = (
            guarded.client.get(path) if route.method == "GET" else post(guarded, path, body, **OWN)
        )
        answer = await sent

        is_led = answer.status_code == 303 and "/console/login" in answer.headers["location"]
        is_form = answer.status_code == 200 and 'name="token"' in answer.text
        assert is_led or is_form or answer.status_code == 422, (route.method, path)
    # What the edge asks for itself: whether others are there, and its place among them.
    own = {"exists", "lease", "liveness", "register", "renew", "heartbeat", "check"}
    assert {name.rpartition(".")[2] for name, _ in guarded.backend.asked} <= own
    assert guarded.backend.ingress == []


async def test_lines_are_streamed_with_the_login_of_the_cookie(guarded: World) -> None:
    path = f"/console/runs/{EXECUTION_ID}/output"

    answer = await guarded.client.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/json")
