"""Signed links."""

import pytest
from noetl_contract.waits.links import Link, opened_link, sealed_link

KEY = b"a key of this test"
LINK = Link(e=7, s="approve", k="ab12", x=2_000_000_000, t="review", p={"decision": "approve"})


def test_a_link_says_what_it_was_made_for() -> None:
    assert opened_link(sealed_link(LINK, KEY), KEY) == LINK


@pytest.mark.parametrize("key", [b"", b"another"])
def test_another_key_opens_nothing(key: bytes) -> None:
    assert opened_link(sealed_link(LINK, KEY), key) is None


def test_a_changed_link_opens_nothing() -> None:
    text = sealed_link(LINK, KEY)
    head, _, tail = text.partition(".")
    forged = sealed_link(LINK.model_copy(update={"e": 8}), b"mine").partition(".")[0]
    for wrong in (
        "",
        ".",
        text[:-1],
        text + "A",
        f"{forged}.{tail}",
        f"{head}.",
        "é.é",
        "x" * 5000,
    ):
        assert opened_link(wrong, KEY) is None


def test_a_link_has_to_fit_an_address() -> None:
    with pytest.raises(ValueError, match="the limit is 4096"):
        sealed_link(LINK.model_copy(update={"p": {"x": "y" * 5000}}), KEY)
    with pytest.raises(ValueError, match="links need a key"):
        sealed_link(LINK, b"")
