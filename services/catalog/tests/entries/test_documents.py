"""Documents and the columns derived from them, and the rules of subscriptions."""

import copy

import pytest
from noetl_catalog.entries.documents import InvalidDocument, kind_word, read_document
from noetl_contract.json import Json
from noetl_engine.triggers.subscription import subscription_problem

PULL = {
    "spec": {
        "source": "nats",
        "mode": "pull",
        "activation": "continuous",
        "dispatch": {"playbook": "p", "batch_dispatch": True, "batch_max": 1000},
        "dedup": {"enabled": True, "window_secs": 1},
        "limits": {"max_in_flight": 1, "max_dispatch_per_sec": 1},
        "headers": {"directives": [{"header": "h", "controls": "c"}]},
        "spool": {"mode": "hybrid", "bucket": "b", "ordering": "per_key"},
    }
}
VERIFY = {"type": "hmac_sha256", "header": "h", "secret": "s"}
PUSH = {
    "spec": {
        "source": "webhook",
        "mode": "push",
        "ingress": {"gateway_path": "/x", "verify": VERIFY},
        "dispatch": {"playbook": "p"},
    }
}
GONE = object()


def changed(document: Json, path: str, value: Json) -> Json:
    """The document with one place set, or taken away."""
    made = copy.deepcopy(document)
    *parents, last = path.split(".")
    place = made
    for name in parents:
        place = place[name]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return made


@pytest.mark.parametrize("document", [PULL, PUSH], ids=["pull", "push"])
def test_valid_subscriptions_have_no_problem(document: Json) -> None:
    assert subscription_problem(document) is None


@pytest.mark.parametrize(
    ("document", "path", "value", "problem"),
    [
        (PULL, "spec", GONE, "kind: Subscription requires a 'spec' block"),
        (PULL, "spec.source", 5, "subscription spec requires 'source'"),
        (
            PULL,
            "spec.source",
            "smtp",
            (
                'subscription \'source\' must be one of ["pubsub", "nats", "kafka", "webhook", '
                '"rabbitmq", "redis"], '
                "got 'smtp'"
            ),
        ),
        (PULL, "spec.mode", GONE, "subscription spec requires 'mode' (pull | push)"),
        (PULL, "spec.mode", "x", "subscription 'mode' must be 'pull' or 'push', got 'x'"),
        (
            PULL,
            "spec.activation",
            "once",
            "subscription 'activation' must be one of [\"continuous\", \"scheduled\"], got 'once'",
        ),
        (PULL, "spec.dispatch", GONE, "subscription spec requires a 'dispatch' block"),
        (PULL, "spec.dispatch.playbook", "", "subscription 'dispatch.playbook' is required"),
        (
            PULL,
            "spec.dispatch.batch_dispatch",
            1,
            "subscription 'dispatch.batch_dispatch' must be a boolean",
        ),
        (
            PULL,
            "spec.dispatch.batch_max",
            True,
            "subscription 'dispatch.batch_max' must be a positive integer",
        ),
        (
            PULL,
            "spec.dispatch.batch_max",
            1001,
            "subscription 'dispatch.batch_max' must be <= 1000 (the server batch cap)",
        ),
        (
            PUSH,
            "spec.ingress.verify.signed",
            "{timestamp}",
            "subscription 'ingress.verify.signed' must contain '{body}'",
        ),
        (
            PUSH,
            "spec.ingress.verify.encoding",
            "rot13",
            'subscription \'ingress.verify.encoding\' must be one of ["hex", "base64"]',
        ),
        (
            PUSH,
            "spec.ingress.verify.tolerance_seconds",
            0,
            "subscription 'ingress.verify.tolerance_seconds' must be a positive integer",
        ),
        (PULL, "spec.dedup", [], "subscription 'dedup' must be a mapping"),
        (PULL, "spec.dedup.enabled", "x", "subscription 'dedup.enabled' must be a boolean"),
        (
            PULL,
            "spec.limits.max_in_flight",
            0,
            "subscription 'limits.max_in_flight' must be a positive integer",
        ),
        (
            PULL,
            "spec.headers.directives",
            [{"header": "h"}],
            "subscription 'headers.directives[0]' requires 'header' and 'controls'",
        ),
        (
            PULL,
            "spec.spool.bucket",
            GONE,
            "subscription 'spool.backend' 'nats_object' requires a non-empty 'bucket'",
        ),
        (
            PULL,
            "spec.spool",
            {
                "mode": "hybrid",
                "bucket": "b",
                "ordering": "global",
                "drain": {"on_recovery": "interleave"},
            },
            (
                "subscription 'spool.drain.on_recovery: interleave' is unsafe with 'ordering: "
                "global'; use 'ordered_then_live' or 'per_key'/'none'"
            ),
        ),
        (
            PUSH,
            "spec.ingress",
            GONE,
            "subscription 'mode: push' requires an 'ingress' block (gateway_path + verify)",
        ),
        (
            PUSH,
            "spec.ingress.gateway_path",
            "x",
            (
                "subscription 'ingress.gateway_path' must be an absolute path starting with '/', "
                "got 'x'"
            ),
        ),
        (
            PUSH,
            "spec.ingress.verify.type",
            "none",
            (
                'subscription \'ingress.verify.type\' must be one of ["hmac_sha256", "bearer", '
                "\"pubsub_oidc\"], got 'none' ('none' is not allowed — "
                "push ingress always verifies)"
            ),
        ),
        (
            PUSH,
            "spec.ingress.verify.secret",
            "",
            "subscription 'ingress.verify.secret' is required for verify.type 'hmac_sha256'",
        ),
    ],
)
def test_first_broken_rule_is_told(document: Json, path: str, value: Json, problem: str) -> None:
    assert subscription_problem(changed(document, path, value)) == problem


def test_switched_off_spool_is_not_looked_at() -> None:
    assert subscription_problem(changed(PULL, "spec.spool", {"backend": "tape"})) is None


@pytest.mark.parametrize(
    ("text", "path", "kind"),
    [
        ("metadata: {path: p, name: n}", "p", "fallback"),
        ("metadata: {path: 5, name: n}\nkind: MCP", "n", "mcp"),
        ("metadata: {path: ' /a '}\nkind: 5", " /a ", "fallback"),
        ('{"metadata": {"path": ""}, "kind": "Agent"}', "", "agent"),
    ],
)
def test_path_and_kind_come_from_the_document(text: str, path: str, kind: str) -> None:
    document = read_document(text, resource_type="Fallback")

    assert (document.path, document.kind) == (path, kind)


def test_document_with_endless_repetition_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    with pytest.raises(InvalidDocument, match=r"Invalid YAML: .*repetition limit"):
        read_document("\n".join(lines), resource_type="Playbook")


@pytest.mark.parametrize(
    ("word", "kind"),
    [(" Playbook ", "playbook"), ("Secrets", "credential"), ("ModelContextProtocol", "mcp")],
)
def test_kind_words_of_clients(word: str, kind: str) -> None:
    assert kind_word(word) == kind


@pytest.mark.parametrize(("more_kinds", "problems"), [((), 1), (("wordcount",), 0)])
def test_kinds_from_other_packages_are_a_problem_unless_named(
    more_kinds: tuple[str, ...], problems: int
) -> None:
    text = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: n, path: p}\n"
        "workflow: [{step: start, tool: {kind: wordcount}}]"
    )

    document = read_document(text, resource_type="Playbook", more_kinds=more_kinds)

    assert problems == len(document.problems)
