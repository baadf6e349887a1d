"""From the configuration of a step to the plan of its container."""

import json
import re
from collections.abc import Iterable

from noetl_contract.json import Json, JsonObject

from noetl_worker.redaction import is_sensitive
from noetl_worker.tools.containers.allowed import Allowed, refused
from noetl_worker.tools.containers.plan import GPU, Mount, Origin, Plan, container_name
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import ToolError

_KIND = "container"
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Never", "OnFailure")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}\Z")
_RESOURCE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,200}/)?[A-Za-z0-9._-]{0,62}\Z")
_MOST = 200
SECRET_TEMPLATE = re.compile(r"\bkeychain\b")
"""Of a template whose value is a secret."""


def read_plan(
    config: JsonObject,
    raw: JsonObject,
    origin: Origin,
    allowed: Allowed,
    *,
    timeout: int | None,
) -> Plan:
    """Return the plan of a rendered configuration.

    Args:
        config: the configuration, rendered.
        raw: the same before that, where templates show which values are secret.
        origin: the command.
        allowed: what may be asked.
        timeout: the tool's general timeout, where its own isn't given.

    Raises:
        ToolError: something is missing, of the wrong type, or not allowed.
    """
    fields = Fields(config, kind=_KIND)
    image = fields.optional_text("image")
    if image is None or not image.strip():
        raise ToolError("Configuration error", "container: image is required")
    allowed.image(image)
    settings = allowed.settings
    namespace = fields.optional_text("namespace") or settings.container_namespace
    allowed.namespace(namespace)
    account = fields.optional_text("service_account")
    if account is not None:
        allowed.service_account(account)
    requests, limits = _resources(fields)
    env, refs = _environment(fields, allowed)
    wanted = fields.optional_unsigned("timeout_seconds")
    ttl = fields.optional_unsigned("ttl_seconds")
    return Plan(
        name=container_name(origin.step, origin.execution_id, origin.event_id),
        namespace=namespace,
        image=image.strip(),
        origin=origin,
        command=_words(fields, "command"),
        args=_words(fields, "args"),
        env=env,
        env_refs=refs,
        hidden=_hidden(env, raw),
        requests=allowed.requests(requests, limits),
        limits=allowed.limits(limits),
        working_dir=fields.optional_text("working_dir"),
        mounts=_mounts(fields, allowed),
        node_selector=_selector(fields, allowed),
        service_account=account,
        pull_policy=fields.choice("image_pull_policy", _PULL_POLICIES, default="IfNotPresent"),
        restart_policy=fields.choice("restart_policy", _RESTART_POLICIES, default="Never"),
        timeout_seconds=allowed.seconds(
            timeout if wanted is None else wanted, name="timeout_seconds"
        ),
        ttl_seconds=settings.container_ttl_seconds if ttl is None else ttl,
        backoff_limit=fields.optional_unsigned("backoff_limit") or 0,
    )


def _resources(fields: Fields) -> tuple[dict[str, str], dict[str, str]]:
    """Return requests and limits."""
    resources = Fields(fields.mapping("resources"), kind=_KIND)
    limits = _amounts(resources, "limits")
    gpu = fields.optional_unsigned("gpu")
    if gpu:
        limits[GPU] = str(gpu)
    return _amounts(resources, "requests"), limits


def _selector(fields: Fields, allowed: Allowed) -> dict[str, str]:
    selector = _texts(fields, "node_selector")
    for label in selector:
        allowed.node_label(label)
    return selector


def _environment(
    fields: Fields, allowed: Allowed
) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    env: dict[str, str] = {}
    refs: dict[str, tuple[str, str]] = {}
    for entry in _items(fields, "env"):
        one = Fields(entry, kind=_KIND)
        name = one.text("name")
        if _VARIABLE.match(name) is None:
            raise refused(f"env var '{name[:200]}' is no name of a variable")
        value, source = entry.get("value"), entry.get("value_from")
        if value is not None and source is not None:
            raise refused(f"env var '{name}': value and value_from are mutually exclusive")
        if source is None:
            env[name] = _as_text(value)
            continue
        reference = Fields(one.mapping("value_from"), kind=_KIND)
        secret = reference.text("secret_name")
        allowed.secret(secret)
        refs[name] = secret, reference.text("secret_key")
    return env, refs


def _hidden(env: dict[str, str], raw: JsonObject) -> tuple[str, ...]:
    """Return the variables that are secret: by their name, or as the keychain brings them."""
    listed = raw.get("env")
    entries = listed if isinstance(listed, list) else []
    by_template = {
        str(entry.get("name"))
        for entry in entries
        if isinstance(entry, dict) and SECRET_TEMPLATE.search(str(entry.get("value")))
    }
    # One template for the whole list shows nothing of its parts.
    is_whole = isinstance(listed, str) and SECRET_TEMPLATE.search(listed) is not None
    return tuple(name for name in env if is_whole or name in by_template or is_sensitive(name))


def _mounts(fields: Fields, allowed: Allowed) -> tuple[Mount, ...]:
    found = []
    for number, entry in enumerate(_items(fields, "volumes")):
        one = Fields(entry, kind=_KIND)
        path = one.text("path")
        if not path.startswith("/") or ".." in path.split("/"):
            raise refused(f"volume path '{path[:200]}' has to be absolute, without '..'")
        source = one.optional_text("source")
        if source is not None:
            allowed.volume(source)
        is_read_only = one.flag("read_only", default=False)
        found.append(Mount(f"volume-{number}", path, source, is_read_only))
    return tuple(found)


def _items(fields: Fields, name: str) -> Iterable[JsonObject]:
    listed = fields.config.get(name)
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise fields.refuse(f"`{name}` has to be a list of mappings")
    if len(listed) > _MOST:
        raise fields.refuse(f"`{name}` has more than {_MOST} entries")
    return [one for one in listed if isinstance(one, dict)]


def _words(fields: Fields, name: str) -> tuple[str, ...]:
    """Return a list of texts; rendering makes a number of a text that looks like one."""
    listed = fields.config.get(name)
    if listed is None or (name == "args" and isinstance(listed, dict)):
        return ()  # the step's own arguments, as an iteration has them, are a mapping
    if not isinstance(listed, list) or any(isinstance(one, dict | list) for one in listed):
        raise fields.refuse(f"`{name}` has to be a list of texts")
    return tuple(map(_as_text, listed))


def _amounts(resources: Fields, name: str) -> dict[str, str]:
    found = _texts(resources, name)
    for resource in found:
        if _RESOURCE.match(resource) is None:
            raise refused(f"resource '{resource[:200]}' is no name of a resource")
    return found


def _texts(fields: Fields, name: str) -> dict[str, str]:
    """Return a map of texts; numbers in it, as templates make them, become texts."""
    return {key: _as_text(value) for key, value in fields.mapping(name).items()}


def _as_text(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)
