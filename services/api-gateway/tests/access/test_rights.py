"""Every route declares its right."""

from noetl_contract.access.rights import Right

from .routes import all_routes

# A delivery proves its origin by what its listener asks for, a link is its own proof.
_OPEN = {
    "/api/auth/check-access",
    "/api/auth/login",
    "/api/auth/validate",
    "/api/health",
    "/api/links/{link}",
    "/api/runtime/contract",
    "/events",
    "/health",
    "/ingress/{listener}",
}


def test_no_route_is_without_a_right() -> None:
    routes = list(all_routes())
    without = [(method, path) for method, path, one in routes if "needs" not in one.opt]

    assert len(routes) > 90
    assert without == []
    assert all(isinstance(one.opt["needs"], Right) for _, _, one in routes)


def test_what_is_open_before_a_login_is_a_short_list() -> None:
    assert {path for _, path, one in all_routes() if one.opt["needs"] is Right.PUBLIC} == _OPEN


def test_every_right_has_a_route() -> None:
    named = {one.opt["needs"] for _, _, one in all_routes()}

    # Asked for beside the right of the route.
    assert set(Right) - named == {Right.SECRETS_READ, Right.SYSTEM_PATHS}
