"""Connection strings of PostgreSQL."""

import pytest
from noetl_pg.address import AddressInvalid, is_ssl_mode, port_of, read_address


@pytest.mark.parametrize(
    ("text", "login", "options"),
    [
        (
            "postgresql://u%40x:p%2Fw@db:6543/app?sslmode=require&sslkey=/etc/key",
            {"host": "db", "port": "6543", "user": "u@x", "password": "p/w", "dbname": "app"},
            {"sslmode": "require", "sslkey": "/etc/key"},
        ),
        ("postgres://db", {"host": "db"}, {}),
        ("postgres://u:a@b@db", {"host": "db", "user": "u", "password": "a@b"}, {}),
        ("postgres://[::1]:5433/x", {"host": "::1", "port": "5433", "dbname": "x"}, {}),
        ("postgres:///?host=/run&database=x", {}, {"host": "/run", "dbname": "x"}),
        (
            "host=db port=5 user='a b' password='it\\'s' dbname=x options=-csearch_path=y",
            {"host": "db", "port": "5", "user": "a b", "password": "it's", "dbname": "x"},
            {"options": "-csearch_path=y"},
        ),
        (" host = db\n database = x ", {"host": "db", "dbname": "x"}, {}),
        ("password=''", {"password": ""}, {}),
        ("", {}, {}),
    ],
)
def test_parts_of_connection_strings(
    text: str, login: dict[str, str], options: dict[str, str]
) -> None:
    found = read_address(text)

    assert (found.login, found.options) == (login, options)
    assert "p/w" not in repr(found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "it is neither a URL nor pairs"),
        ("host=db 'secret", "it is neither a URL nor pairs"),
        ("mysql://db/x", "its scheme is not"),
        ("postgres://[db", "it is no valid URL"),
        ("postgres://a,b/x", "it names several hosts"),
        ("host=a,b", "it names several hosts"),
        ("postgres://db:port/x", "its port is no port number"),
        ("postgres://db:65536/x", "its port is no port number"),
    ],
)
def test_others_are_refused_without_repeating_them(text: str, reason: str) -> None:
    with pytest.raises(AddressInvalid) as refused:
        read_address(text)

    assert refused.value.reason.startswith(reason)
    assert "secret" not in refused.value.message


def test_ports_and_tls_modes() -> None:
    assert port_of("5432") == 5432
    for text in ("", "0", "-1", "65536", "²"):
        with pytest.raises(AddressInvalid):
            port_of(text)
    assert is_ssl_mode("verify-full")
    assert not is_ssl_mode("maybe")
