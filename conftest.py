"""Distribution of the tests over processes (``make test`` starts three)."""

import gc
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from noetl_testkit.shared_stacks import stack_of

# Kill and freeze processes and look at the time that takes: never two of them at once.
_DELICATE = frozenset(
    {
        "cli/tests/stack/test_kills.py",
        "tests/e2e/outages/test_kills.py",
        "tests/e2e/outages/test_sharding.py",
        "tests/e2e/outages/test_silent_edge.py",
    }
)
_LONGEST = (
    "delicate",
    "shared stack: nats",
    "cli/tests/test_real_services.py",
    "shared stack: http",
    "shared stack: guarded",
    "shared stack: asking",
    "tests/e2e/clients/test_real_cli.py",
    "shared stack: edge",
    "tests/playbooks/test_system_playbooks.py",
    "libs/noetl_template/tests/test_hostile_templates.py",
    "tests/security/growth/test_stop_the_orchestrator.py",
    "tests/attacks/test_canary.py",
)
"""Groups of more than half a minute; they begin in this order."""


# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the tests' processes: a shell's background jobs have SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # xdist would begin with the groups of the most tests, and those are not the longest.
    config.option.loadscopereorder = False


def pytest_collection() -> None:
    """Let the collector of garbage wait: nearly all that is made now stays to the end."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let it pass over modules and tests from now on."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Keep tests that share servers together; the longest groups begin first.

    After all others have changed the order.
    """
    groups = {item: _group_of(item) for item in items}
    yield
    if getattr(config.option, "loadgroup", False):
        # By the end of its id xdist knows a test's group. The marker of xdist 3.8 sets a field that
        # pytest 9.2 no longer reads: each test would be a group of its own.
        for item, group in groups.items():
            item._id = type(item.id).parse(f"{item.nodeid}@{group}")  # noqa: SLF001 -- see above
    longest = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: longest.get(groups[item], len(longest)))


def _group_of(item: pytest.Item) -> str:
    if name := stack_of(item):
        return f"shared stack: {name}"
    file, _, _ = item.nodeid.partition("::")
    return "delicate" if file in _DELICATE else file
