"""How the tests are spread over processes (``make test`` starts two)."""

import signal

import pytest

# Kill and freeze processes and look at the time that takes: never two of them at once.
_DELICATE = frozenset({"test_kills.py", "test_silent_edge.py", "test_sharding.py"})


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: a shell's background job inherits SIGINT as ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file's tests together, for they share servers; the longest groups begin first."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    ranks: dict[pytest.Item, int] = {}
    for item in items:
        place = item.path.relative_to(config.rootpath)
        starts_stacks = place.parts[0] in {"tests", "cli"}
        is_delicate = place.parts[0] == "cli" or place.name in _DELICATE
        group = "delicate" if starts_stacks and is_delicate else str(place)
        ranks[item] = 0 if group == "delicate" else 1 if starts_stacks else 2
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=ranks.__getitem__)
