"""Forks of a loaded process: they end, and are ended, as processes of their own are."""

import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from noetl_common import metrics
from noetl_testkit.stack import command
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from noetl_testkit.warm.measured import Loading

READS = ["logs", "412345678901234567", "--file", "-"]


@pytest.mark.parametrize("words", [["schema", "nothing"], ["validate", "missing.yaml"]])
def test_a_command_says_and_returns_what_it_does_alone(words: list[str], tmp_path: Path) -> None:
    warm, alone = (
        subprocess.run(
            [*command(is_warm=is_warm), *words],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        for is_warm in (True, False)
    )

    assert warm.returncode != 0
    assert (warm.returncode, warm.stdout, warm.stderr) == (
        alone.returncode,
        alone.stdout,
        alone.stderr,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_signals_reach_it_and_it_ends_with_its_caller(number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [*command(is_warm=True), *READS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # More than a pipe holds: it has begun as soon as this is written.
        for _ in range(100):
            process.stdin.write(b"{}\n" * 1_000)

        process.send_signal(number)

        process.stdout.read()
        assert process.wait(timeout=PATIENCE_SECONDS) == code
        wait_until(lambda: _reads_no_more(process), what="nothing reads any more")


def test_a_fork_has_the_metrics_of_what_it_would_have_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    made = "from noetl_common import metrics\nmetrics.counter('{name}_total', 'Of a test.')\n"
    for name, text in {
        "noetl_warm_one": "import noetl_warm_shared\n" + made.format(name="warm_one"),
        "noetl_warm_two": "import noetl_warm_shared\n" + made.format(name="warm_two"),
        "noetl_warm_shared": made.format(name="warm_shared"),
    }.items():
        (tmp_path / f"{name}.py").write_text(text)

    with Loading() as loading:
        __import__("noetl_warm_one")
        __import__("noetl_warm_two")
    before = metrics.render().decode()
    loading.keep("noetl_warm_two")
    after = metrics.render().decode()

    assert "warm_one_total" in before
    assert "warm_one_total" not in after
    assert "warm_two_total" in after
    assert "warm_shared_total" in after
    for name in ("noetl_warm_one", "noetl_warm_two", "noetl_warm_shared"):
        del sys.modules[name]


def _reads_no_more(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdin is not None
    poll = select.poll()
    poll.register(process.stdin, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
