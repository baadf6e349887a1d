"""The chart as Helm renders it, without a cluster: Helm 4 as a library."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manifests import Manifests, parse
from packing import pack

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "noetl"
NAMESPACE = "flow"
RELEASE = "noetl"
KUBERNETES = "1.36"

type Values = Mapping[str, Any]

_SECRETS = {
    "api-gateway": {"nats-password"},
    "orchestrator": {"nats-password", "postgres-password"},
    "outbox": {"nats-password", "postgres-password"},
    "projector": {"nats-password", "postgres-password"},
    "catalog": {"nats-password", "postgres-password", "encryption-key", "access-keys"},
    "migrate": {"postgres-password"},
    "command-key": {"command-key"},
    "internal-api-token": {"internal-api-token"},
}
"""Keys of the Secrets that an operator makes before the chart, as tools/chart_secrets does."""


class Helm:
    """A chart in an archive.

    Args:
        archive: as `packed` makes it.

    Raises:
        ImportError: Helm's library has no build for this machine.
    """

    def __init__(self, archive: Path) -> None:
        # Loaded here: it is only there for x86-64.
        import helm_python  # noqa: PLC0415

        self._helm = helm_python
        self._archive = archive
        self._chart = helm_python.Chart.load(archive)

    def render(self, values: Values) -> Manifests:
        """Return the manifests of a release with these values.

        Raises:
            ValueError: the chart refuses them, or renders to no manifests.
        """
        try:
            self._chart.validate_schema(dict(values))
            rendered = self._chart.render(dict(values), name=RELEASE, namespace=NAMESPACE)
        except self._helm.HelmError as error:
            raise ValueError(str(error)) from error
        given = _given(values)
        return Manifests(parse(rendered), NAMESPACE, known_secrets(given), for_tools(given))

    def lint(self, values: Values) -> list[str]:
        """Return the messages of Helm's own linter, warnings included."""
        report = self._helm.lint(
            self._archive, dict(values), strict=True, namespace=NAMESPACE, kube_version=KUBERNETES
        )
        warnings = [
            f"{one['path']}: {one['error']}" for one in report["messages"] if one["severity"] > 1
        ]
        return [*warnings, *map(str, report["errors"])]


def _given(values: Values) -> Values:
    """Return values without the nulls, which mean the defaults."""
    return {
        key: _given(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def known_secrets(values: Values) -> dict[str, set[str]]:
    """Return the Secrets that exist before a release with these values, and their keys."""
    pools = {"shared", *values.get("pools", {})}
    system = values.get("workerPool", {})
    if system.get("enabled"):
        pools.add(system.get("poolName", "system"))
    named = _SECRETS | {f"worker-{pool.replace('_', '-')}": {"nats-password"} for pool in pools}
    given = values.get("secrets", {}).get("existing", {})
    fullname = values.get("fullnameOverride") or RELEASE
    known = {given.get(name, f"{fullname}-{name}"): set(keys) for name, keys in named.items()}
    for part in _parts(values):
        for place in part.get("secretEnv", {}).values():
            known.setdefault(place["secret"], set()).add(place["key"])
    return known


def for_tools(values: Values) -> frozenset[str]:
    """Return the variables that values give to workers, whose tools may read any."""
    pools = [values.get("worker", {}), values.get("workerPool", {}), *_pools(values)]
    return frozenset(
        name for part in pools for kind in ("env", "secretEnv") for name in part.get(kind, {})
    )


def _parts(values: Values) -> Iterator[Values]:
    yield from (part for part in values.values() if isinstance(part, dict))
    yield from _pools(values)


def _pools(values: Values) -> list[Values]:
    return [part or {} for part in values.get("pools", {}).values()]


@contextmanager
def packed(defaults: str | None = None) -> Iterator[Path]:
    """Pack the chart as a release does: links of the checkout become files.

    Args:
        defaults: text of another values.yaml. That is what `helm upgrade --reuse-values` makes of
            the chart: its templates are the new ones, the values those of the release before,
            whatever its chart had.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{CHART.name}.tgz"
        replaced = None if defaults is None else {Path("values.yaml"): defaults}
        pack(CHART, archive, replaced=replaced)
        yield archive
