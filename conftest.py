"""How the tests are spread over processes (``make test`` starts two)."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file's tests together, and everything that starts whole stacks in one process.

    Files share fixtures; two stacks at once would starve each other on two cores.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        place = item.path.relative_to(config.rootpath)
        starts_stacks = place.parts[0] in {"tests", "cli"}
        group = "stacks" if starts_stacks else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
