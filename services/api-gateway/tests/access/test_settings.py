"""Settings of access to the edge."""

import pytest
from noetl_api_gateway.access_settings import is_auth_on
from noetl_api_gateway.settings import Settings
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("host", "auth", "is_on"),
    [
        ("127.0.0.1", "auto", False),
        ("::1", "auto", False),
        ("localhost", "auto", False),
        ("127.1.2.3", "auto", False),
        ("0.0.0.0", "auto", True),  # noqa: S104
        ("::", "auto", True),
        ("10.0.0.7", "auto", True),
        ("edge.example", "auto", True),
        ("127.0.0.1", "on", True),
        ("127.0.0.1", "off", False),
    ],
)
def test_logins_are_needed_where_others_reach_the_port(
    host: str, auth: str, *, is_on: bool
) -> None:
    settings = Settings(http_host=host, auth=auth)

    assert is_auth_on(settings, settings.http_host) is is_on


def test_switched_off_for_others_only_with_a_reason() -> None:
    host = "0.0.0.0"  # noqa: S104
    with pytest.raises(ValidationError, match="NOETL_AUTH_OFF_REASON"):
        Settings(http_host=host, auth="off")
    with pytest.raises(ValidationError, match="NOETL_AUTH_OFF_REASON"):
        Settings(http_host=host, auth="off", auth_off_reason=" ")
    reasoned = Settings(http_host=host, auth="off", auth_off_reason="a proxy asks")

    assert not is_auth_on(reasoned, host)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"oidc_algorithms": "RS256,HS256"}, "HS256 needs no secret"),
        ({"oidc_algorithms": "none"}, "none needs no secret"),
        ({"oidc_issuer": "https://login.example"}, "NOETL_OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://login.example", "oidc_audience": "a"}, "need https"),
        ({"trusted_clients": "gateway"}, "NOETL_TRUSTED_CLIENTS"),
        ({"trusted_clients": "boss:10.0.0.0/8"}, "NOETL_TRUSTED_CLIENTS"),
        ({"trusted_clients": "gateway:10.0.3.7/24"}, "NOETL_TRUSTED_CLIENTS"),
        ({"client_certificates": "x"}, "NOETL_CLIENT_CERTIFICATES"),
    ],
)
def test_what_would_open_too_much_is_refused_by_name(changes: dict[str, str], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Settings(**changes)
