"""Mistakes in commands are found without running them."""

import pytest
from spoken import strangers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("noetl-server archive writ x", "No such command 'writ'"),
        ("noetl-server up --nope", "No such option: --nope"),
        ("noetl-server key create x --role king", "'king' is not one of"),
        ("noetl-server run x.yaml --timeout soon", "unable to parse string"),
        ("key=1 && noetl-server status --token $(cat x) --nope", "No such option: --nope"),
        ('eval "$(noetl-server envi)"', "No such command 'envi'"),
        ("make nothing", "make nothing"),
        ('make bench args="--scal 1"', "make bench --scal"),
        ("make demo args=--scale", "make demo takes no args"),
        ("benchmarks/profil --seconds 1", "benchmarks/profil is not there"),
        ("WORKER_MAX_CONCURRENT=many noetl-server up", "valid integer"),
        ("NOETL_SHARDS='host=db;port=x' noetl-server migrate", "NOETL_SHARDS"),
        ("docker compose run --rm migrat", "no service is called migrat"),
        ("docker compose up --detach --scale workers=3", "no service is called workers"),
        ("docker volume rm noetl_nats noetl_pg", "no volume is called noetl_pg"),
        ("if then", "syntax error"),
    ],
)
def test_what_means_nothing_is_told(text: str, told: str) -> None:
    found = list(strangers(text))

    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "noetl-server failures --since 2026-01-01T00:00:00Z > failures.txt  # a comment",
        "noetl-server credential add x --type bearer --file - <<END\ntoken=a --nope\nEND",
        "noetl-server status EXECUTION_ID | grep --nope",
        "docker compose exec -T postgres pg_dump --nope",
        "PASSWORD=… WORKER_MAX_CONCURRENT=$N noetl-server up",
    ],
)
def test_what_is_of_others_and_what_is_right_is_not(text: str) -> None:
    assert list(strangers(text)) == []
