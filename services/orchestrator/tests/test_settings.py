"""Relations between the settings' defaults, and to the streams."""

from noetl_contract.streams import COMMANDS, INGRESS
from noetl_orchestrator.settings import Settings
from noetl_testkit.postgres import Database

from services.orchestrator.tests.shard import settings_for

# A worker tries to publish its first start for so long.
START_RETRIES_SECONDS = 10


def settings() -> Settings:
    nowhere = Database(host="unused", port=1, user="u", password="p", name="n")
    return settings_for("nats://unused", nowhere)


def test_a_fast_path_token_outlives_all_competitors() -> None:
    known = settings()
    longest = known.fast_path_seconds + 2 * known.clock_allowance_seconds + START_RETRIES_SECONDS

    assert INGRESS.duplicate_window.total_seconds() > longest


def test_l3_a_silent_edge_is_noticed_before_the_workers_behind_it_are_judged() -> None:
    known = settings()

    assert known.edge_stale_seconds() * 2 < known.command_worker_heartbeat_stale_seconds


def test_o3_a_command_waits_in_its_stream_for_longer_than_for_its_repetition() -> None:
    known = settings()
    assert COMMANDS.max_age is not None

    assert known.pending_retry_seconds < known.pending_retry_max_seconds
    assert known.pending_retry_max_seconds * 2 < COMMANDS.max_age.total_seconds()
