"""Results of benchmarks survive being kept, drawn and put into a page."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.report import pages, svg, text
from benchmarks.report.results import Measured, Plot, Report, Table, load

TABLE = Table(
    "steps", "A step", ["tool", "ms", "steps/s"], [["noop", 1.234, 1234], ["a|b", None, 5]]
)
LINES = Plot("rates", "Rates & more", "at once", "a second", {"a": [(1, 5), (64, 9)], "floor": []})
BARS = Plot("hops", "Hops", "ms", "%", {"a": [(0, 90), (0.5, 10)]}, kind="bars")


def report(*, busy: float = 1.0) -> Report:
    measured = Measured(
        case="steps",
        at="2026-11-27T10:00+00:00",
        commit="abc",
        scale=0.5,
        busy=busy,
        seconds=3.0,
        machine={"CPU": "two"},
        tables=[TABLE],
        plots=[LINES, BARS],
    )
    return Report({"steps": measured})


def test_results_are_read_as_they_were_kept(tmp_path: Path):
    report().save(tmp_path / "new" / "results.json")
    kept = load(tmp_path / "new" / "results.json")

    assert text.markdown(kept.cases["steps"].tables[0]) == text.markdown(TABLE)
    assert svg.draw(kept.cases["steps"].plots[0]) == svg.draw(LINES)
    assert not load(tmp_path / "none.json").cases


def test_another_file_is_refused(tmp_path: Path):
    (tmp_path / "results.json").write_text('{"cases": {"a": 1}}')

    with pytest.raises(ValueError, match="holds no results of a benchmark"):
        load(tmp_path / "results.json")


def test_figures_have_three_digits_and_stand_to_the_right():
    assert [text.shown(one) for one in (0.01234, 1.234, 12.34, 1234.5, 1234, None, "x")] == [
        *("0.012", "1.23", "12.3", "1,234", "1,234", "-", "x"),
    ]
    assert text.plain(TABLE).splitlines()[1:] == [
        "tool    ms  steps/s",
        "noop  1.23    1,234",
        "a|b      -        5",
    ]


@pytest.mark.parametrize("plot", [LINES, BARS, Plot("none", "None", "x", "y", {})])
def test_a_plot_is_well_formed(plot: Plot):
    root = ET.fromstring(svg.draw(plot))  # noqa: S314 (our own)

    assert root.find("{http://www.w3.org/2000/svg}title").text == plot.title


def test_a_page_gets_what_there_is_and_keeps_the_rest(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n<!-- machine -->\n<!-- end -->\n<!-- table steps -->\nold\n<!-- end -->\n"
        "<!-- plot rates -->\n<!-- end -->\n<!-- table other -->\nkept\n<!-- end -->\n"
        "<!-- table empty -->\n<!-- end -->\n"
    )

    missing = pages.write(report(busy=50.0), page)
    once = page.read_text()
    pages.write(report(busy=50.0), page)

    assert missing == ["table other", "table empty"]
    assert "<!-- table empty -->\n*Not measured yet.*\n<!-- end -->" in once
    assert "* CPU: two" in once
    assert "| a\\|b | - | 5 |" in once
    assert "old" not in once
    assert "kept" in once
    assert "shared machine, 50 % busy before, at 0.5 of the full size" in once
    assert "![Rates & more](page/rates.svg)" in once
    assert (tmp_path / "page" / "rates.svg").exists()
    assert page.read_text() == once
