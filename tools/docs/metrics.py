"""The page of metrics: every family that the sources make, found by reading them.

Families are made by ``noetl_common.metrics``: ``counter``, ``gauge`` and ``histogram`` with a
literal name and help, and labels that are literal or a name bound to a literal in that file.
Anything else is an error here, so that no family escapes the page.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hosts import hosted_by
from tables import GENERATED, code, table

_MAKERS = frozenset({"counter", "gauge", "histogram"})
_HOME = "noetl_common/metrics.py"
_OPEN = frozenset(
    {
        # Begin at 0 once their labels are known: at the first pull, for every route.
        "noetl_bus_delivered_total",
        "noetl_bus_pull_repairs_total",
        "noetl_http_requests_total",
        "noetl_rpc_requests_total",
        # As users name them: listeners, regions, providers, sources.
        "noetl_ingress_dispatched_total",
        "noetl_ingress_received_total",
        "noetl_ingress_rejected_total",
        "noetl_secret_broker_call_total",
        "noetl_secret_provider_build_total",
        "noetl_secret_residency_check_total",
        "noetl_secret_resolve_total",
        "noetl_subscription_batch_dispatch_total",
        "noetl_subscription_batch_messages_total",
        "noetl_subscription_dead_lettered_total",
        "noetl_subscription_directives_applied_total",
        "noetl_subscription_executions_total",
        "noetl_subscription_messages_received_total",
        "noetl_subscription_rate_limited_total",
        "noetl_subscription_spooled_total",
    }
)
"""Counters with labels that may come without `zeros`."""


class NotLiteral(Exception):
    """A family whose name, help or labels are only known at run time, or that has no beginning."""


@dataclass(frozen=True)
class Family:
    """One line of the page."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def page(root: Path) -> str:
    """Return the page of all packages of a checkout."""
    places = {"Every service": sorted(root.glob("libs/*/src/*"))}
    for path in sorted(root.glob("services/*")):
        places[path.name] = [*sorted(path.glob("src/*")), *hosted_by(path.name, root)]
    lines = [
        "# Metrics",
        "",
        GENERATED,
        "",
        "Served at `/metrics` of each process, in the text format of Prometheus.",
        "Labels are closed sets. Counters begin at 0, so that a rate counts their first event.",
        "What costs a question to the database or the broker is measured when it is read.",
        "",
    ]
    for title, folders in places.items():
        rows = sorted(
            {(one.name, one) for folder in folders for one in families(folder)},
            key=lambda pair: (pair[0], pair[1].labels, pair[1].help),
        )
        cells = [
            [code(name), one.kind, ", ".join(map(code, one.labels)), one.help] for name, one in rows
        ]
        if cells:
            lines += [f"## {title}", "", *table(["name", "type", "labels", "meaning"], cells), ""]
    return "\n".join(lines).rstrip() + "\n"


def families(folder: Path) -> Iterator[Family]:
    """Return the families that the modules of a folder make.

    Raises:
        NotLiteral: one can't be read.
    """
    for path in sorted(folder.rglob("*.py")):
        if path.as_posix().endswith(_HOME):
            continue
        tree = ast.parse(path.read_text())
        if _made_elsewhere(tree):
            message = f"{path}: make families with `noetl_common.metrics`"
            raise NotLiteral(message)
        literals = _literals(tree)
        direct = _imported(tree)
        for node in ast.walk(tree):
            kind = _maker(node, direct)
            if kind and isinstance(node, ast.Call):
                try:
                    yield _family(kind, node, literals)
                except (KeyError, ValueError, IndexError) as error:
                    place = f"{path}:{node.lineno}"
                    message = f"{place}: write name, help and labels as literals"
                    raise NotLiteral(message) from error


def _made_elsewhere(tree: ast.Module) -> bool:
    """Return whether a module makes families of the client library itself."""
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
        for alias in node.names
    }
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    )


def _imported(tree: ast.Module) -> frozenset[str]:
    """Return the makers that a module imports by name."""
    return frozenset(
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "noetl_common.metrics"
        for alias in node.names
        if alias.name in _MAKERS
    )


def _maker(node: ast.AST, direct: frozenset[str]) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    match node.func:
        case ast.Name(id=name) if name in direct:
            return name
        case ast.Attribute(value=ast.Name(id="metrics"), attr=name) if name in _MAKERS:
            return name
    return None


def _literals(tree: ast.Module) -> dict[str, ast.expr]:
    return {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _open(name: str) -> dict[str, ast.expr]:
    return {"zeros": ast.Tuple(elts=[])} if name in _OPEN else {}


def _family(kind: str, node: ast.Call, literals: dict[str, ast.expr]) -> Family:
    keywords = {word.arg: word.value for word in node.keywords}
    given = dict(zip(("name", "documentation", "labels"), node.args, strict=False)) | {
        name: value for name, value in keywords.items() if name is not None
    }
    labels = given.get("labels", ast.Tuple(elts=[]))
    if isinstance(labels, ast.Name):
        labels = literals[labels.id]
    name = str(ast.literal_eval(given["name"]))
    if kind == "counter" and ast.literal_eval(labels) and "zeros" not in given | _open(name):
        raise NotLiteral(f"{name}: say with `zeros` which of its series are there from the start")
    return Family(
        name,
        kind,
        tuple(ast.literal_eval(labels)),
        str(ast.literal_eval(given["documentation"])),
    )
