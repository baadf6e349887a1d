"""Lines out of bytes, parts of which were left out."""

import pytest
from noetl_worker.output.splitting import LONGEST_RAW, Splitter
from noetl_worker.redaction import REDACTED

KEY = b"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKC\nshort==\n-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ((b"a\nb\n",), ["a", "b"]),
        ((b"a", b"b\n", b"c"), ["ab", "c"]),
        ((b"\n\n",), ["", ""]),
        ((b"a\r", b"\nb\r\n"), ["a", "b"]),
        ((b"10 %\r20 %\r",), ["10 %", "20 %"]),
        (("größ".encode()[:3], "größe\n".encode()[3:]), ["größe"]),
        ((b"\xff\n",), ["\N{REPLACEMENT CHARACTER}"]),
    ],
)
def test_lines_are_put_together(parts: tuple[bytes, ...], lines: list[str]) -> None:
    splitter = Splitter()

    found = [line for part in parts for line in splitter.take(part)]

    assert [*found, *splitter.finish()] == lines


def test_a_line_of_which_a_part_is_left_out_is_left_out_as_a_whole() -> None:
    splitter = Splitter()

    assert splitter.take(b"one\nsecret-") == ["one"]
    assert splitter.skip(b"begin") == 0
    assert splitter.take(b"-end\ntwo\n") == [None, "two"]
    assert splitter.skip(b"three\nfour\nfi") == 2
    assert splitter.take(b"ve\nsix") == [None]
    assert splitter.finish() == ["six"]


def test_a_long_line_is_cut_and_says_so() -> None:
    splitter = Splitter()

    (line,) = splitter.take(b"x" * (LONGEST_RAW + 5) + b"\n")

    assert line == "x" * LONGEST_RAW + "… 5 more bytes"


@pytest.mark.parametrize("cut", range(0, len(KEY), 7))
def test_no_line_of_a_private_key_is_shown_whatever_is_left_out(cut: int) -> None:
    for is_first_shown in (True, False):
        splitter = Splitter()
        if is_first_shown:
            found = splitter.take(KEY[:cut])
        else:
            splitter.skip(KEY[:cut])
            found = []
        found += splitter.take(KEY[cut:] + b"after\n")

        shown = [line for line in found if line is not None]
        assert shown[-1] == "after"
        hidden = {"MIIEpAIBAAKC", "short=="} & set(shown)
        assert not hidden
        assert REDACTED in shown or not is_first_shown
