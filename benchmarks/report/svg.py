"""Plots as SVG: lines over a logarithmic x, and bars of histograms.

Written by hand: what is needed fits a page, and the usual library brings a hundred megabytes.
"""

import math
from collections.abc import Callable
from html import escape

from benchmarks.report.results import Plot

WIDTH, HEIGHT = 820, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 270, 34, 44
type _Place = Callable[[float, float], tuple[float, float]]
_COLOURS = ("#1b6ca8", "#c8553d", "#3a8f5b", "#7a4fa3", "#b8860b", "#444444", "#0f9aa8", "#a83f6f")


def draw(plot: Plot) -> str:
    """Return a plot as an SVG document."""
    points = [point for series in plot.series.values() for point in series]
    if not points:
        points = [(1.0, 1.0)]
    bars = plot.kind == "bars"
    xs = [x for x, _y in points]
    low, high = (min(xs), max(xs)) if bars else (math.log2(min(xs)), math.log2(max(xs)))
    top = _nice(max(y for _x, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        at = x if bars else math.log2(x)
        share = (at - low) / (high - low) if high > low else 0.5
        across = _LEFT + share * (WIDTH - _LEFT - _RIGHT)
        return across, HEIGHT - _BOTTOM - y / top * (HEIGHT - _TOP - _BOTTOM)

    ticks = sorted(set(xs)) if len(set(xs)) <= 10 else _spread(low, high, is_log=not bars)
    parts = [*_frame(plot), *_y_axis(top), *_x_axis(ticks, place)]
    for number, (label, series) in enumerate(plot.series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts += _legend(number, label, colour)
        located = [place(x, y) for x, y in sorted(series)]
        parts += _stairs(located, colour) if bars else _line(located, colour, label)
    return "\n".join([*parts, "</svg>", ""])


def _frame(plot: Plot) -> list[str]:
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        f' width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(plot.title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{escape(plot.title)}</text>',
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(plot.x)}</text>',
        f'<text transform="rotate(-90)" x="{-HEIGHT / 2}" y="14" text-anchor="middle">',
        f"{escape(plot.y)}</text>",
    ]


def _y_axis(top: float) -> list[str]:
    parts = []
    for step in range(5):
        height = HEIGHT - _BOTTOM - step / 4 * (HEIGHT - _TOP - _BOTTOM)
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{height}" y2="{height}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4}" text-anchor="end">{top * step / 4:,g}</text>'
        )
    return parts


def _x_axis(ticks: list[float], place: _Place) -> list[str]:
    parts = []
    for tick in ticks:
        across, below = place(tick, 0)
        parts.append(
            f'<text x="{across:.1f}" y="{below + 16:.1f}" text-anchor="middle">{tick:,g}</text>'
        )
    return parts


def _line(located: list[tuple[float, float]], colour: str, label: str) -> list[str]:
    dashes = ' stroke-dasharray="5 4"' if label.startswith("floor") else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in located)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in located]
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    return [line, *dots]


def _stairs(located: list[tuple[float, float]], colour: str) -> list[str]:
    """Draw a histogram's outline, so that several can stand over each other."""
    steps = [f"M{located[0][0]:.1f},{HEIGHT - _BOTTOM}"] if located else []
    for x, y in located:
        steps.append(f"V{y:.1f}H{x:.1f}" if len(steps) > 1 else f"V{y:.1f}")
    return [f'<path d="{"".join(steps)}" fill="none" stroke="{colour}" stroke-width="1.5"/>']


def _legend(number: int, label: str, colour: str) -> list[str]:
    across, down = WIDTH - _RIGHT + 14, _TOP + 10 + number * 18
    return [
        f'<rect x="{across}" y="{down - 9}" width="10" height="10" fill="{colour}"/>',
        f'<text x="{across + 16}" y="{down}">{escape(label)}</text>',
    ]


def _nice(largest: float) -> float:
    """Return the least of 1, 2, 4, 5, 8 times a power of ten that is not below a number."""
    if largest <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(largest))
    return next(one * power for one in (1, 2, 4, 5, 8, 10) if one * power >= largest * 0.9999)


def _spread(low: float, high: float, *, is_log: bool) -> list[float]:
    steps = [low + (high - low) * step / 6 for step in range(7)]
    return [float(round(2**one)) for one in steps] if is_log else [round(one, 2) for one in steps]
