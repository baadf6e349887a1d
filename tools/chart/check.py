"""Render the chart and check the manifests: for the value sets of its tests, or for one's own.

    tools/chart/check.py --values production.yaml

Prints what is wrong and ends with 1 if anything is. Helm, Kubernetes' schemas and our own checks
are all there is: nothing is asked of a cluster.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pods
import references
import scaling
import schemas
import variables
import yaml
from manifests import Manifests
from rendering import Helm, packed
from value_sets import DEFAULTS_OF, VALUE_SETS

type Check = Callable[[Manifests], Iterable[str]]

CHECKS: tuple[Check, ...] = (
    *(schemas.fields, references.names, references.volumes, references.ports),
    *(
        references.secrets,
        references.config_maps,
        references.accounts,
        references.role_bindings,
        references.selectors,
        references.budgets,
    ),
    *(references.policies, references.targets),
    *(pods.images, pods.sizes, pods.rights, pods.places, pods.probes, pods.stops),
    *(pods.rollouts, pods.hooks),
    *(scaling.scalers, scaling.bounds, scaling.processor_time, scaling.triggers),
    *(scaling.durables, scaling.slots),
    *(variables.unread, variables.logins, variables.shards, variables.secrets_in_sight),
)


def find(manifests: Manifests) -> Iterator[str]:
    """Find the problems that any of the checks finds."""
    for check in CHECKS:
        yield from check(manifests)


def find_in_sets() -> Iterator[str]:
    """Find the problems of the chart for any of the value sets."""
    for name, values in VALUE_SETS.items():
        with packed(DEFAULTS_OF.get(name)) as archive:
            helm = Helm(archive)
            yield from (f"{name}: {what}" for what in find(helm.render(values)))
            yield from (f"{name}: lint: {what}" for what in helm.lint(values))


def find_with(values: Mapping[str, object]) -> Iterator[str]:
    """Find the problems of the chart for these values."""
    with packed() as archive:
        yield from find(Helm(archive).render(values))


def main() -> int:
    """Check the value sets, or the given values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=Path, action="append", help="laid over each other")
    given = parser.parse_args().values
    try:
        found = list(find_in_sets() if given is None else find_with(_laid(given)))
    except ImportError:
        sys.stderr.write(
            "chart: Helm's library has no build for this machine; nothing was checked\n"
        )
        return 0 if given is None else 2
    except (OSError, ValueError) as error:
        sys.stderr.write(f"chart: {error}\n")
        return 1
    for finding in found:
        sys.stdout.write(f"{finding}\n")
    return 1 if found else 0


def _laid(paths: list[Path]) -> dict[str, object]:
    values: dict[str, object] = {}
    for path in paths:
        _lay(values, yaml.safe_load(path.read_text()) or {})
    return values


def _lay(below: dict[str, object], above: dict[str, object]) -> None:
    for key, value in above.items():
        there = below.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            _lay(there, value)
        else:
            below[key] = value


if __name__ == "__main__":
    sys.exit(main())
