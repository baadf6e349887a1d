"""Content of log lines, and secrets that must not be in them."""

import logging

import orjson
import pytest
from noetl_common.logging import MASK, configure, get_logger, masked
from noetl_common.settings import LogSettings

pytestmark = pytest.mark.usefixtures("restored_logging")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_our_lines_and_the_libraries_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="json"), "outbox")
    get_logger().info("batch_published", count=3, when=object)
    logging.getLogger("uvicorn.error").info("started %s", "now")
    ours, theirs = lines(capsys)

    assert (ours["msg"], ours["count"], ours["level"]) == ("batch_published", 3, "info")
    assert (ours["service"], theirs["service"]) == ("outbox", "outbox")
    assert theirs["msg"] == "started now"
    assert str(ours["ts"]).endswith("Z")


def test_a_pool_that_can_not_reconnect_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(LogSettings(log_format="json"), "orchestrator")
    pool = logging.getLogger("asyncpg.pool")
    refusal = ConnectionRefusedError(111, "refused")
    pool.warning("retrying %s", "soon", exc_info=refusal)
    pool.error("broken", exc_info=refusal)
    warning, error = lines(capsys)

    assert warning["msg"] == "retrying soon: ConnectionRefusedError(111, 'refused')"
    assert "exception" not in warning
    assert "ConnectionRefusedError" in str(error["exception"])


def test_the_level_holds_for_both(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="json", log_level="warning"), "x")
    get_logger().info("quiet")
    logging.getLogger("some").info("quiet")
    get_logger().warning("loud")

    assert [line["msg"] for line in lines(capsys)] == ["loud"]


def test_secrets_never_reach_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="json"), "x")
    secret = "hunter2hunter2"
    try:
        int(f"postgres://u:{secret}@h/db")
    except ValueError:
        get_logger().exception(
            "failed",
            password=secret,
            nested={"list": [{"api_key": secret}]},
            url=f"nats://u:{secret}@h:4222",
            not_encoded=f"nats://u:p@{secret}@h:4222,nats://u:{secret}@g:4222",
            header=f"Bearer {secret}",
        )
    logging.getLogger("lib").warning("Authorization: Bearer %s", secret)
    text = capsys.readouterr().out

    assert secret not in text
    assert text.count(MASK) >= 5
    assert "ValueError" in text


def test_what_is_no_json_of_the_encoder_is_logged_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(LogSettings(log_format="json"), "x")
    get_logger().info("odd", path="caf\udce9", count=1 << 80, keys={(1, 2): 3})

    (line,) = lines(capsys)
    assert line["msg"] == "odd"
    assert line["count"] == 1 << 80


def test_pretty_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="pretty"), "x")
    get_logger().info("hello", who="you", token="hunter2")
    text = capsys.readouterr().out

    assert "hello" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("log_format", ["pretty", "json"])
def test_a_traceback_shows_no_values_of_variables(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure(LogSettings.model_validate({"log_format": log_format}), "x")
    secret = "hunter" + str(2)
    try:
        int(secret[:0])
    except ValueError:
        get_logger().exception("failed")
    line = capsys.readouterr().out

    assert "Traceback" in line
    assert secret not in line


def test_masking_leaves_the_rest_alone() -> None:
    value = {"token": "", "name": "n", "items": [1, None, {"secret": {"a": 1}}]}

    assert masked(value) == {"token": "", "name": "n", "items": [1, None, {"secret": MASK}]}
