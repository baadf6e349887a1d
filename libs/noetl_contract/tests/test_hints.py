"""Hints, the broker's acknowledgements and news of commits, as they travel."""

import json

import pytest
from noetl_contract.events import CommitMessage
from noetl_contract.hints import PubAck, ReplicaMoves, RunsOverHint, WatchHint
from noetl_contract.model import Struct
from noetl_contract.pages import PageHint, PageResult

FORMS: list[tuple[bytes, Struct]] = [
    (
        b'{"from":"a","moved":[[7,3]]}',
        ReplicaMoves(sender="a", moved=[(7, 3)]),
    ),
    (
        b'{"from":"a","moved":[],"wanted":0.25,"spare":false,"active":["a"]}',
        ReplicaMoves(sender="a", moved=[], wanted=0.25, spare=False, active=["a"]),
    ),
    (
        b'{"execution_id":7,"over":[[1,2147483647]],"ended":true}',
        RunsOverHint(execution_id=7, over=[(1, 2147483647)], ended=True),
    ),
    (b'{"execution_id":7,"over":[]}', RunsOverHint(execution_id=7, over=[])),
    (b'{"executions":[7,8],"fresh":[8]}', WatchHint(executions=[7, 8], fresh=[8])),
    (
        b'{"execution_id":"7","first":1,"last":4}',
        CommitMessage(execution_id="7", first=1, last=4),
    ),
    (b'{"stream":"S","seq":4,"duplicate":false}', PubAck(stream="S", sequence=4)),
    (b'{"stream":"S","domain":"hub","seq":4}', PubAck(stream="S", sequence=4)),
    (
        b'{"request_id":"r","execution_id":"7","status":"COMPLETED","data":[1],"error":null}',
        PageResult(request_id="r", execution_id="7", status="COMPLETED", data=[1]),
    ),
    (
        b'{"kind":"result","request_id":"r","progress":{}}',
        PageHint(kind="result", request_id="r"),
    ),
]


@pytest.mark.parametrize(("data", "read"), FORMS)
def test_a_hint_is_read(data: bytes, read: Struct) -> None:
    assert type(read).from_json(data) == read


@pytest.mark.parametrize(("data", "read"), FORMS)
def test_a_hint_is_written(data: bytes, read: Struct) -> None:
    """Keys that say nothing may be left out."""
    written = json.loads(read.to_json())
    left_out = {"duplicate": False, "error": None, "progress": {}, "domain": "hub"}

    assert {**left_out, **json.loads(data)} == {**left_out, **written}


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b'{"execution_id":7}', b'{"over":[[1]]}'])
def test_a_hint_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expected|required|truncated"):
        RunsOverHint.from_json(data)


def test_what_a_later_release_says_more_is_left_out() -> None:
    said = RunsOverHint.from_json(b'{"execution_id":7,"over":[],"why":{"deep":[1]}}')

    assert said == RunsOverHint(execution_id=7, over=[])
