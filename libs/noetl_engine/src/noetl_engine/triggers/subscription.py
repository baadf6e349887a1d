"""Validation of documents of kind Subscription; the first broken rule decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noetl_contract.json import Json

_SOURCES = ("pubsub", "nats", "kafka", "webhook", "rabbitmq", "redis")
_ACTIVATIONS = ("continuous", "scheduled")
_VERIFY_FIELDS = {
    "hmac_sha256": ("header", "secret"),
    "bearer": ("secret",),
    "pubsub_oidc": ("audience", "service_account"),
}
_SPOOL_MODES = ("off", "buffer_and_ack", "hybrid")
_SPOOL_BACKENDS = ("nats_object", "local_disk", "gcs", "s3")
_ORDERINGS = ("global", "per_key", "none")
_BATCH_CAP = 1000


class _BrokenRuleError(Exception):
    """One rule of the document is broken."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Content of a subscription's document that the catalog needs.

    Attributes:
        playbooks: paths of what its messages start, those that a header may choose too.
        pools: worker pools for that, None for the playbook's own.
        listener: name under which it listens at a gateway, if it does.
    """

    playbooks: tuple[str, ...]
    pools: tuple[str | None, ...]
    listener: str | None


def read_subscription(document: Mapping[str, Json]) -> Subscription:
    """Return the content of a valid document."""
    spec = _mapping_or_empty(document["spec"])
    dispatch = _mapping_or_empty(spec.get("dispatch"))
    chosen = _chosen_by_headers(_mapping_or_empty(spec.get("headers")).get("directives"))
    return Subscription(
        playbooks=(_text(dispatch.get("playbook"), ""), *chosen["dispatch.playbook"]),
        pools=(_text(dispatch.get("execution_pool"), "") or None, *chosen["pools"]),
        listener=listener_of(spec),
    )


def _chosen_by_headers(directives: Json) -> Mapping[str, list[str]]:
    """Return the playbooks and pools that headers of a message may choose."""
    playbooks: list[str] = []
    pools: list[str] = []
    for directive in directives if isinstance(directives, list) else ():
        rule = _mapping_or_empty(directive)
        allowed = rule.get("allowed")
        named = _texts(allowed if isinstance(allowed, list) else [])
        match rule.get("controls"):
            case "dispatch.playbook":
                playbooks += named
            case "dispatch.execution_pool":
                pools += named
            case "priority":
                pools += _texts([*_mapping_or_empty(rule.get("map")).values()])
    return {"dispatch.playbook": playbooks, "pools": pools}


def listener_of(spec: Mapping[str, Json]) -> str | None:
    """Return the last part of a gateway path; None without one."""
    path = _mapping_or_empty(spec.get("ingress")).get("gateway_path")
    return path.rstrip("/").rpartition("/")[2] if isinstance(path, str) else None


def subscription_problem(document: Mapping[str, Json]) -> str | None:
    """Return the message of the first broken rule; None for a valid document."""
    try:
        _check(document)
    except _BrokenRuleError as broken:
        return str(broken)
    return None


def _check(document: Mapping[str, Json]) -> None:
    if "spec" not in document:
        raise _BrokenRuleError("kind: Subscription requires a 'spec' block")
    spec = _mapping_or_empty(document["spec"])
    source = spec.get("source")
    if not isinstance(source, str):
        raise _BrokenRuleError("subscription spec requires 'source'")
    _one_of("source", source, _SOURCES)
    _check_mode(spec)
    _check_dispatch(spec)
    _check_dedup(spec)
    _check_limits(spec)
    _check_headers(spec)
    _check_spool(spec)


def _check_mode(spec: Mapping[str, Json]) -> None:
    mode = spec.get("mode")
    if not isinstance(mode, str):
        raise _BrokenRuleError("subscription spec requires 'mode' (pull | push)")
    match mode:
        case "pull":
            activation = spec.get("activation")
            if isinstance(activation, str):
                _one_of("activation", activation, _ACTIVATIONS)
        case "push":
            _check_ingress(spec)
        case _:
            raise _BrokenRuleError(f"subscription 'mode' must be 'pull' or 'push', got '{mode}'")


def _check_ingress(spec: Mapping[str, Json]) -> None:
    if "ingress" not in spec:
        raise _BrokenRuleError(
            "subscription 'mode: push' requires an 'ingress' block (gateway_path + verify)"
        )
    ingress = _mapping_or_empty(spec["ingress"])
    path = ingress.get("gateway_path")
    if not isinstance(path, str) or not path:
        raise _BrokenRuleError("subscription 'ingress.gateway_path' is required for push")
    if not path.startswith("/"):
        raise _BrokenRuleError(
            "subscription 'ingress.gateway_path' must be an absolute path starting with '/', "
            f"got '{path}'"
        )
    if "verify" not in ingress:
        raise _BrokenRuleError(
            "subscription 'ingress' requires a 'verify' block (push always verifies)"
        )
    verify = _mapping_or_empty(ingress["verify"])
    kind = verify.get("type")
    if not isinstance(kind, str):
        raise _BrokenRuleError("subscription 'ingress.verify.type' is required")
    if kind not in _VERIFY_FIELDS:
        raise _BrokenRuleError(
            f"subscription 'ingress.verify.type' must be one of {_listed(tuple(_VERIFY_FIELDS))}, "
            f"got '{kind}' ('none' is not allowed — push ingress always verifies)"
        )
    for name in _VERIFY_FIELDS[kind]:
        value = verify.get(name)
        if not isinstance(value, str) or not value:
            raise _BrokenRuleError(
                f"subscription 'ingress.verify.{name}' is required for verify.type '{kind}'"
            )
    _check_signing(verify)


def _check_signing(verify: Mapping[str, Json]) -> None:
    """Check the rules for making a signature."""
    signed = verify.get("signed")
    if signed is not None and (not isinstance(signed, str) or "{body}" not in signed):
        raise _BrokenRuleError("subscription 'ingress.verify.signed' must contain '{body}'")
    if "encoding" in verify and verify["encoding"] not in ("hex", "base64"):
        raise _BrokenRuleError(
            'subscription \'ingress.verify.encoding\' must be one of ["hex", "base64"]'
        )
    if "tolerance_seconds" in verify:
        _positive("ingress.verify.tolerance_seconds", verify["tolerance_seconds"])


def _check_dispatch(spec: Mapping[str, Json]) -> None:
    if "dispatch" not in spec:
        raise _BrokenRuleError("subscription spec requires a 'dispatch' block")
    dispatch = _mapping_or_empty(spec["dispatch"])
    playbook = dispatch.get("playbook")
    if not isinstance(playbook, str) or not playbook:
        raise _BrokenRuleError("subscription 'dispatch.playbook' is required")
    if "batch_dispatch" in dispatch and not isinstance(dispatch["batch_dispatch"], bool):
        raise _BrokenRuleError("subscription 'dispatch.batch_dispatch' must be a boolean")
    if "batch_max" in dispatch:
        most = _positive("dispatch.batch_max", dispatch["batch_max"])
        if most > _BATCH_CAP:
            raise _BrokenRuleError(
                f"subscription 'dispatch.batch_max' must be <= {_BATCH_CAP} (the server batch cap)"
            )


def _check_dedup(spec: Mapping[str, Json]) -> None:
    if "dedup" not in spec:
        return
    dedup = _mapping("dedup", spec["dedup"])
    if "enabled" in dedup and not isinstance(dedup["enabled"], bool):
        raise _BrokenRuleError("subscription 'dedup.enabled' must be a boolean")
    if "window_secs" in dedup:
        _positive("dedup.window_secs", dedup["window_secs"])


def _check_limits(spec: Mapping[str, Json]) -> None:
    if "limits" not in spec:
        return
    limits = _mapping("limits", spec["limits"])
    for name in ("max_in_flight", "max_dispatch_per_sec"):
        if name in limits:
            _positive(f"limits.{name}", limits[name])


def _check_headers(spec: Mapping[str, Json]) -> None:
    if "headers" not in spec:
        return
    headers = _mapping("headers", spec["headers"])
    if "directives" not in headers:
        return
    directives = headers["directives"]
    if not isinstance(directives, list):
        raise _BrokenRuleError("subscription 'headers.directives' must be a list")
    for index, directive in enumerate(directives):
        known = _mapping_or_empty(directive)
        if not all(isinstance(known.get(name), str) for name in ("header", "controls")):
            raise _BrokenRuleError(
                f"subscription 'headers.directives[{index}]' requires 'header' and 'controls'"
            )


def _check_spool(spec: Mapping[str, Json]) -> None:
    if "spool" not in spec:
        return
    spool = _mapping("spool", spec["spool"])
    mode = _text(spool.get("mode"), "off")
    _one_of("spool.mode", mode, _SPOOL_MODES)
    if mode == "off":
        return
    backend = _text(spool.get("backend"), "nats_object")
    _one_of("spool.backend", backend, _SPOOL_BACKENDS)
    needed = "path" if backend == "local_disk" else "bucket"
    place = spool.get(needed)
    if not isinstance(place, str) or not place:
        raise _BrokenRuleError(
            f"subscription 'spool.backend' '{backend}' requires a non-empty '{needed}'"
        )
    ordering = spool.get("ordering")
    if isinstance(ordering, str):
        _one_of("spool.ordering", ordering, _ORDERINGS)
    drain = _mapping_or_empty(spool.get("drain"))
    if ordering == "global" and drain.get("on_recovery") == "interleave":
        raise _BrokenRuleError(
            "subscription 'spool.drain.on_recovery: interleave' is unsafe with 'ordering: "
            "global'; use 'ordered_then_live' or 'per_key'/'none'"
        )


def _one_of(name: str, value: str, words: Sequence[str]) -> None:
    if value not in words:
        raise _BrokenRuleError(
            f"subscription '{name}' must be one of {_listed(words)}, got '{value}'"
        )


def _listed(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def _positive(name: str, value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise _BrokenRuleError(f"subscription '{name}' must be a positive integer")
    return value


def _mapping(name: str, value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise _BrokenRuleError(f"subscription '{name}' must be a mapping")
    return value


def _mapping_or_empty(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _texts(values: Sequence[Json]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _text(value: Json, default: str) -> str:
    return value if isinstance(value, str) else default
