"""The chart, rendered once with each set of values."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest
from manifests import Manifests
from rendering import Helm, packed
from value_sets import DEFAULTS_OF, VALUE_SETS


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    """Return the chart as Helm loads it; its library is built for x86-64 only."""
    pytest.importorskip("helm_python", reason="Helm's library has no build for this machine")
    with packed() as archive:
        yield Helm(archive)


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> Callable[[str], Manifests]:
    """Return a function that gives the manifests of a set of values; they are not to be changed."""

    @cache
    def render(name: str) -> Manifests:
        older = DEFAULTS_OF.get(name)
        if older is None:
            return helm.render(VALUE_SETS[name])
        with packed(older) as archive:
            return Helm(archive).render(VALUE_SETS[name])

    return render
