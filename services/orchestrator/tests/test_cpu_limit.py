import subprocess
import sys
import threading
import time

import pytest
from noetl_orchestrator.cpu_limit import CpuLimit, TookTooLong
from noetl_testkit.waiting import PATIENCE_SECONDS


def work(seconds: float) -> None:
    """Use processor time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_call_that_works_for_too_long_is_left() -> None:
    with pytest.raises(TookTooLong):
        CpuLimit(0.1).run(work, 60)


def test_the_work_of_other_threads_does_not_count() -> None:
    is_over = threading.Event()

    def compile_meanwhile() -> None:
        while not is_over.is_set():
            work(0.01)

    others = [threading.Thread(target=compile_meanwhile) for _ in range(3)]
    for other in others:
        other.start()
    try:
        CpuLimit(0.3).run(work, 0.15)
    finally:
        is_over.set()
        for other in others:
            other.join()


def test_a_process_ends_in_good_order_however_much_its_end_takes() -> None:
    script = """
import time
from noetl_orchestrator.cpu_limit import CpuLimit

class Late:
    def __del__(self, clock=time.thread_time):
        end = clock() + 0.05
        while clock() < end:
            pass

late = Late()
CpuLimit(0.01)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=PATIENCE_SECONDS, check=False)

    assert done.returncode == 0
