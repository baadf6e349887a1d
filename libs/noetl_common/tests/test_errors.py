"""The root of our errors."""

from noetl_common.errors import Conflict, NoetlError, NotFound, Permanent, Transient


class PlaybookMissing(NotFound):
    """As a service declares one."""

    template = "no playbook {path}"


def test_the_message_is_the_template_filled() -> None:
    error = PlaybookMissing(path="a/b")

    assert str(error) == "no playbook a/b"
    assert error.context == {"path": "a/b"}
    assert error.code == "playbook_missing"
    assert error.http_status == 404
    assert error.detail == {"code": "playbook_missing", "path": "a/b"}


def test_a_template_of_ones_own_wins() -> None:
    assert str(Permanent("{count} are too many", count=3)) == "3 are too many"
    assert str(Permanent("braces {} stay without context")) == "braces {} stay without context"


def test_long_values_are_cut_in_the_message_only() -> None:
    error = PlaybookMissing(path="x" * 5_000)

    assert len(str(error)) < 400
    assert len(error.context["path"]) == 5_000


def test_a_wrong_template_does_not_hide_the_error() -> None:
    assert "missing {other}" in str(Permanent("missing {other}", path="p"))


def test_numbers_can_be_formatted() -> None:
    assert str(Transient("{seconds:.1f} s", seconds=1.25)) == "1.2 s"


def test_marks() -> None:
    assert issubclass(NotFound, Permanent)
    assert not issubclass(Conflict, Permanent | Transient)
    assert issubclass(Conflict, NoetlError)
