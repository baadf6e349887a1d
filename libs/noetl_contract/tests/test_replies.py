"""The envelope of answers."""

import pytest
from noetl_contract.rpc import RpcReply, decode_reply, encode_reply
from noetl_contract.rpc.projector import EXECUTIONS_EXISTS, EXECUTIONS_STATES

REPLIES = (
    (b'{"status":200,"body":{"exists":true},"error":null,"detail":null}', 200, {"exists": True}),
    (b'{"status":200,"body":null,"error":null,"detail":null}', 200, None),
    (b'{"status":202,"body":[1,"\xc3\xa9"],"error":null,"detail":null}', 202, [1, "\u00e9"]),
    (b'{"status":409,"body":null,"error":"too late","detail":{"since":1}}', 409, None),
    (
        b'{"status":503,"body":null,"error":"too many requests are waiting","detail":null}',
        503,
        None,
    ),
    (b'{"status":422,"body":null,"error":"w","detail":[{"loc":["a",0],"msg":"m"}]}', 422, None),
)


@pytest.mark.parametrize("cuts_body", [True, False])
@pytest.mark.parametrize(("data", "status", "body"), REPLIES)
def test_a_reply_that_was_read_is_written_as_it_was(
    data: bytes, status: int, body: object, *, cuts_body: bool
) -> None:
    reply = decode_reply(data, cuts_body=cuts_body)

    assert (reply.status, reply.body, reply.is_good) == (status, body, status < 300)
    assert encode_reply(reply) == data


def test_what_is_refused_says_why() -> None:
    reply = decode_reply(b'{"status":409,"body":null,"error":"no","detail":{"since":1}}')

    assert (reply.error, reply.detail) == ("no", {"since": 1})


def test_fields_may_be_absent_and_unknown() -> None:
    short, long_ = decode_reply(b"{}"), decode_reply(b'{"body":{"a":1},"later":[1],"status":200}')

    assert (short.status, short.body, short.error, short.detail) == (200, None, None, None)
    assert (long_.status, long_.body) == (200, {"a": 1})


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"status":"lost"}', b'{"status":200'])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expected|truncated"):
        decode_reply(data)


def test_a_body_keeps_its_digits() -> None:
    body = {"n": 123456789012345678901234567890, "x": [0.1, 1e16]}

    assert decode_reply(encode_reply(RpcReply.with_body(body))).body == body


def test_a_broken_body_is_noticed_when_it_is_read() -> None:
    reply = decode_reply(b'{"status":200,"body":{"exists":tru,"error":null,"detail":null}')

    with pytest.raises(ValueError, match=r"invalid character|truncated"):
        assert reply.body
    with pytest.raises(ValueError, match=r"JSON|truncated"):
        EXECUTIONS_EXISTS.decode_answer(reply.raw_body)


def test_a_body_is_read_as_the_answer_of_its_operation() -> None:
    reply = decode_reply(encode_reply(RpcReply.with_body({"states": {"7": "RUNNING"}})))

    assert EXECUTIONS_STATES.decode_answer(reply.raw_body).states == {"7": "RUNNING"}


def test_a_detail_that_is_no_json_is_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    reply = decode_reply(encode_reply(RpcReply(status=500, error="no", detail={"what": Odd()})))

    assert reply.detail == {"what": "odd"}
