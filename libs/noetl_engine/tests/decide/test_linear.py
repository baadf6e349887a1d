from engine_driver import Run, make_playbook, make_step

HELLO = make_playbook(
    make_step("start", "test_step"), make_step("test_step", "end"), make_step("end")
)


def test_hello_world_writes_nineteen_rows():
    run = Run(HELLO).start().work_all()

    assert run.story == (
        "started I(start) W(start) enter test_step I(test_step) W(test_step) "
        "enter end I(end) W(end) playbook.completed"
    )
    assert len(run.rows) == 19


def test_both_transports_write_the_same_log():
    fast = Run(HELLO).start().work_all()
    slow = Run(HELLO).start().work_all(fast=False)

    assert [row.event_type for row in fast.rows] == [row.event_type for row in slow.rows]
