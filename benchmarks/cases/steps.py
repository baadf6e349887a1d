"""Ten steps one after the other: latency and throughput, beside the floor of the same run."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import floor, playbooks
from benchmarks.probes.bench import bench
from benchmarks.probes.cpu import SERVICES, CpuTimes
from benchmarks.probes.load import quantile
from benchmarks.probes.step_times import step_times
from benchmarks.probes.target import target
from benchmarks.report import sizing
from benchmarks.report.results import Found, Plot, Table

# More at once cost the same a step.
_SIZED_AT = 64


@dataclass(frozen=True)
class _Figures:
    transport: str
    kind: str
    at_once: int
    p50: float
    p95: float
    p99: float
    rate: float
    base: floor.Floor
    cpu: dict[str, float]

    @property
    def label(self) -> str:
        return f"{self.kind} over {self.transport}"


def run(settings: Settings) -> Iterator[Found]:
    """Measure each transport, tool and number at once."""
    found: list[_Figures] = []
    for transport in settings.transports:
        for one in _of_transport(transport, settings):
            found.append(one)
            print(
                f"  {one.label}, {one.at_once} at once: p50 {one.p50:.2f} ms, "
                f"{one.rate:.0f} steps/s, floor {one.base.ms:.2f} ms {one.base.rate:.0f}/s",
                flush=True,
            )
    yield _table(found)
    yield _cpu_table(found)
    busiest = min(settings.at_once, key=lambda one: abs(one - _SIZED_AT))
    many = [one for one in found if one.at_once == busiest]
    services = {one.label: {name: one.cpu.get(name, 0.0) for name in SERVICES} for one in many}
    yield from sizing.tables(services)
    yield _plot(found, "throughput", "steps a second")
    yield _plot(found, "latency", "milliseconds a step, median")


def _of_transport(transport: str, settings: Settings) -> Iterator[_Figures]:
    with bench(transport, environment=settings.environment) as on, target() as url:
        on.register(*(playbooks.chain(kind, playbooks.TOOLS[kind]) for kind in settings.kinds))
        for kind in settings.kinds:
            workload = {"url": url} if kind == "http" else {}
            on.run(kind, at_once=4, total=12, **workload)
            for at_once in settings.at_once:
                total = max(at_once * 2, settings.scaled(max(30, min(at_once * 10, 1000))))
                base = on.floor(at_once)
                cpu = CpuTimes(on.stack)
                done = on.run(kind, at_once=at_once, total=total, **workload)
                steps = total * playbooks.STEPS
                used = {name: one / steps * 1000 for name, one in cpu.used().items()}
                times = on.wait(step_times(on.dsn, done.ids))
                yield _Figures(
                    transport=transport,
                    kind=kind,
                    at_once=at_once,
                    p50=quantile(times, 0.5),
                    p95=quantile(times, 0.95),
                    p99=quantile(times, 0.99),
                    rate=steps / done.seconds,
                    base=base,
                    cpu=used,
                )


def _table(found: list[_Figures]) -> Table:
    columns = [
        *("transport", "tool", "at once", "p50 ms", "p95 ms", "p99 ms", "steps/s"),
        *("floor ms", "floor/s", "times floor ms", "floor/s per step/s"),
    ]
    rows = [
        [
            *(one.transport, one.kind, one.at_once, one.p50, one.p95, one.p99, one.rate),
            *(one.base.ms, one.base.rate, one.p50 / one.base.ms, one.base.rate / one.rate),
        ]
        for one in found
    ]
    return Table("steps", "A step: latency and throughput", columns, rows)


def _cpu_table(found: list[_Figures]) -> Table:
    columns = ["transport", "tool", "at once", *SERVICES, "all"]
    rows = [
        [
            *(one.transport, one.kind, one.at_once),
            *(one.cpu.get(name, 0.0) for name in SERVICES),
            sum(one.cpu.values()),
        ]
        for one in found
    ]
    return Table("steps_cpu", "CPU milliseconds a step, by service", columns, rows)


def _plot(found: list[_Figures], name: str, axis: str) -> Plot:
    is_rate = name == "throughput"
    series: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        at = float(one.at_once)
        series.setdefault(one.label, []).append((at, one.rate if is_rate else one.p50))
        if not is_rate and one.transport == found[0].transport and one.kind == found[0].kind:
            series.setdefault("floor", []).append((at, one.base.ms))
    title = "Throughput over executions at once" if is_rate else "Latency over executions at once"
    return Plot(f"steps_{name}", title, "executions at once", axis, series)


CASE = Case("steps", "ten steps in a row: 1 to 256 at once, both transports, three tools", run)
