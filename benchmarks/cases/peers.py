"""The same ten steps on other systems, on this machine, one after the other."""

from collections.abc import Iterator

from benchmarks.cases.case import Case, Settings
from benchmarks.peers import libraries, restate
from benchmarks.peers.packages import NotHereError
from benchmarks.probes import playbooks
from benchmarks.probes.bench import bench
from benchmarks.probes.load import median
from benchmarks.report.results import Found, Plot, Table

_PEERS = (restate.PEER, libraries.DBOS, libraries.ABSURD)
_OURS = "ours, NATS transport"
type _Row = list[str | int | float | None]


def run(settings: Settings) -> Iterator[Found]:
    """Measure ours, then each peer, then say which could not be had."""
    levels = [(at_once, settings.scaled(max(50, at_once * 20), at_once)) for at_once in (1, 16, 64)]
    rows: list[_Row] = []
    missing: list[str] = []
    with bench() as on:
        on.register(playbooks.chain("noop", playbooks.NOOP))
        on.run("noop", at_once=4, total=40)
        for at_once, flows in levels:
            base = on.floor(at_once)
            done = on.run("noop", at_once=at_once, total=flows)
            rate = flows * playbooks.STEPS / done.seconds
            rows.append([_OURS, "yes", at_once, median(done.spans) / playbooks.STEPS, rate])
            rows.append(["floor: commit, publish, consume", "", at_once, base.ms, base.rate])
    for peer in _PEERS:
        print(f"  {peer.name}", flush=True)
        try:
            found = list(peer.measure(settings.folder / "peers", levels))
        except NotHereError as error:
            missing.append(f"{peer.name} was left out: {error}.")
            print(f"  {missing[-1]}", flush=True)
            continue
        hop = "yes" if peer.has_hop else "no"
        rows += [[peer.name, hop, one.at_once, one.ms, one.rate] for one in found]
    columns = ["system", "worker hop", "flows at once", "ms/step", "steps/s"]
    notes = [
        "A flow's time from the caller's request to the news of its end, as a median, divided by",
        "its ten steps. Those with a worker hop, as ours has, compare with ours.",
        f"Per step, ours: {_PER_STEP}.",
        *(f"{peer.name}: {peer.per_step}." for peer in _PEERS),
        *missing,
    ]
    yield Table("peers", "The same flow on other systems", columns, rows, notes)
    series: dict[str, list[tuple[float, float]]] = {}
    for name, _hop, at_once, _ms, rate in rows:
        series.setdefault(str(name), []).append((float(at_once or 1), float(rate or 0)))
    yield Plot("peers", "Steps a second, by system", "flows at once", "steps a second", series)


_PER_STEP = (
    "a command published to a worker process, its outcome published back, and one commit that "
    "holds the outcome's events and the next command"
)
CASE = Case(
    "peers",
    "Restate, DBOS and Absurd on the same flow, fetched from npm and PyPI; only with --peers",
    run,
    is_asked_for=True,
)
