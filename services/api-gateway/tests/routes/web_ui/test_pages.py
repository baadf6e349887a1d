"""A built UI at `/ui`: its files and no others, its page everywhere, its settings."""

import json
import re
from pathlib import Path

import pytest
from noetl_api_gateway.routes.web_ui.files import read_ui
from noetl_api_gateway.routes.web_ui.pages import policy_of

from ...conftest import make_world

PAGE = """<!doctype html><html><head lang="en">
<script>window.early = 1</script>
<script type="module" src="/assets/index-BxKz91Qa.js"></script>
<link rel="stylesheet" href="/assets/index-a1b2c3d4.css"><link rel="icon" href="/logo.svg?v=1">
<link rel="help" href="https://elsewhere.example/assets/x.js"><a href="/catalog">catalog</a>
</head><body></body></html>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a build, with a few files in it that must not be served."""
    built = tmp_path / "dist"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text(PAGE)
    (built / "env-config.js").write_text("not ours")
    (built / "assets" / "index-BxKz91Qa.js").write_text("run()")
    (built / "assets" / "index-a1b2c3d4.css").write_text("a{}")
    (built / "logo.svg").write_text("<svg/>")
    (built / ".env").write_text("SECRET=1")
    (tmp_path / "outside.txt").write_text("secret")
    (built / "link.txt").symlink_to(tmp_path / "outside.txt")
    return built


async def test_a_ui_of_the_root_is_served_below_ui(nats_url: str, folder: Path) -> None:
    html = {"Accept": "text/html,*/*", "Sec-Fetch-Site": "none"}
    async with make_world(nats_url, ui_dir=str(folder)) as world:
        for path in ("/ui", "/ui/", "/ui/executions/7", "/catalog", "/ui/index.html"):
            page = await world.get(path, **html)
            assert (page.status_code, page.headers["content-type"]) == (
                200,
                "text/html; charset=utf-8",
            )
            assert page.headers["cache-control"] == "no-cache"
        script = await world.get("/ui/assets/index-BxKz91Qa.js")
        rooted = await world.get("/assets/index-BxKz91Qa.js")
        logo = await world.get("/logo.svg")
        same = await world.get("/ui/logo.svg", **{"If-None-Match": logo.headers["etag"]})
        env = (await world.get("/ui/env-config.js")).text
        home = await world.get("/", **html)
        hidden = [
            await world.get(f"/ui/{path}")
            for path in (".env", "link.txt", "../outside.txt", "%2e%2e/outside.txt", "a.js")
        ]
        unknown = await world.get("/api/nothing", **html)
        programs = await world.get("/catalog")
        posted = await world.post("/ui", {})

    assert 'src="/ui/assets/index-BxKz91Qa.js"' in page.text
    assert 'href="/ui/logo.svg?v=1"' in page.text
    assert 'href="/catalog"' in page.text
    assert page.text.index("/ui/env-config.js") < page.text.index("window.early")
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert len(re.findall("'sha256-", policy)) == 1
    assert (script.text, rooted.text, logo.text) == ("run()", "run()", "<svg/>")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (same.status_code, same.content) == (304, b"")
    assert '"VITE_API_MODE":"direct"' in env
    assert '"VITE_ALLOW_SKIP_AUTH":"true"' in env
    assert "history.replaceState" in env
    assert (home.status_code, home.headers["location"]) == (302, "/console")
    assert [answer.status_code for answer in hidden] == [404] * 5
    assert (unknown.status_code, programs.status_code, posted.status_code) == (404, 404, 404)


async def test_the_page_of_a_server_with_logins_asks_for_one(nats_url: str, folder: Path) -> None:
    settings = {"auth": "on", "command_key": "k" * 32, "gateway_auth0_domain": "login.example"}
    values = {"ui_env": '{"VITE_APP_VERSION": "7"}', "ui_csp": "default-src *"}
    async with make_world(nats_url, ui_dir=str(folder), **settings, **values) as world:
        env = (await world.get("/ui/env-config.js")).text
        page = await world.get("/ui")

    told = json.loads(re.findall(r"Object.assign\(\n.*?}, ({.*})\)", env)[0])
    assert told == {
        "VITE_API_MODE": "gateway",
        "VITE_ALLOW_SKIP_AUTH": "false",
        "VITE_AUTH0_DOMAIN": "login.example",
        "VITE_APP_VERSION": "7",
    }
    assert page.headers["content-security-policy"] == "default-src *"


def test_a_ui_that_was_built_for_ui_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<head><script src="./app.js"></script></head>')
    (tmp_path / "app.js").write_text("run()")

    ui = read_ui(tmp_path)

    assert not ui.is_rooted
    assert b'<script src="/ui/app.js">' in ui.page.content


def test_a_policy_lets_in_whom_the_settings_name(folder: Path) -> None:
    values = {"VITE_API_BASE_URL": "https://api.example:8443/x", "VITE_AUTH0_DOMAIN": "id.example"}

    policy = policy_of(read_ui(folder), values)

    assert (
        "connect-src 'self' https://cdn.jsdelivr.net https://api.example:8443 https://id.example;"
        in policy
    )


def test_a_folder_without_a_page_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"NOETL_UI_DIR: .* has no index.html"):
        read_ui(tmp_path)
