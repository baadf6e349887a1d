"""Documents of kind Plugin: a module, what it uses, and its limits."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field, StrictInt, StrictStr

from noetl_contract.json import Json
from noetl_contract.model import Model, example
from noetl_contract.plugins.binary import MAGIC, BadModule, check_module
from noetl_contract.plugins.interface import INTERFACES, SERVER_HOST, USES

type Form = Literal["base64", "gzip", "wat"]

FORMS: Final[tuple[Form, ...]] = ("base64", "gzip", "wat")
LARGEST_MODULE: Final = 8 << 20
"""Default limit of an unpacked module, in bytes."""
_MOST_HOSTS: Final = 100
_GZIP: Final = 31
_SHOWN: Final = 100


class BadPlugin(ValueError):
    """The document is not a valid plug-in; the message says why and names the key."""


class PluginLimits(Model):
    """Limits of one run; null for the worker's own limit alone."""

    fuel: StrictInt | None = Field(default=None, ge=1, description="Instructions, or so.")
    memory_bytes: StrictInt | None = Field(default=None, ge=1 << 16, description="Its memory.")
    seconds: float | None = Field(default=None, gt=0, description="Wall-clock time.")
    output_bytes: StrictInt | None = Field(default=None, ge=1, description="Its result.")


class PluginBody(Model):
    """A plug-in as a worker gets it."""

    model_config = example(
        path="plugins/score",
        version=3,
        digest="2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        interface="noetl.plugin/1",
        form="wat",
        module="(module …)",
        uses=["log"],
        allowed_hosts=[],
        limits={"seconds": 5},
    )

    path: StrictStr = ""
    version: StrictInt = 0
    digest: StrictStr
    interface: StrictStr
    form: Form
    module: StrictStr
    uses: list[StrictStr] = Field(default_factory=list)
    allowed_hosts: list[StrictStr] = Field(default_factory=list)
    limits: PluginLimits = Field(default_factory=PluginLimits)


def read_plugin(document: Mapping[str, Json], *, most: int = LARGEST_MODULE) -> PluginBody:
    """Read a document of kind Plugin, without path and version.

    Args:
        document: the whole document.
        most: largest module in bytes, unpacked.

    Raises:
        BadPlugin: it is none.
    """
    spec = document.get("spec")
    if not isinstance(spec, Mapping):
        raise BadPlugin("'spec' is missing, or no mapping")
    interface = spec.get("interface")
    if interface not in INTERFACES:
        raise BadPlugin(
            f"'spec.interface' is {_shown(interface)}; this server knows {', '.join(INTERFACES)}"
        )
    form, text = _module_of(spec)
    uses = _uses(spec)
    hosts = _hosts(spec, uses)
    data = module_bytes(form, text, most=most)
    digest = hashlib.sha256(data).hexdigest()
    wanted = _mapping(spec, "module").get("sha256")
    if wanted is not None and str(wanted).lower() != digest:
        raise BadPlugin(f"'spec.module.sha256' is {_shown(wanted)}, the module's is {digest}")
    if form != "wat":
        try:
            check_module(data, uses=uses)
        except BadModule as error:
            raise BadPlugin(f"'spec.module.{form}': {error}") from error
    return PluginBody(
        digest=digest,
        interface=str(interface),
        form=form,
        module=text,
        uses=uses,
        allowed_hosts=hosts,
        limits=_limits(spec),
    )


def module_bytes(form: Form, text: str, *, most: int = LARGEST_MODULE) -> bytes:
    """Return the module that a document holds: of ``wat`` its text, else the binary.

    Raises:
        BadPlugin: it can't be unpacked, or is too large.
    """
    if form == "wat":
        data = text.encode()
    else:
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
            if form == "gzip":
                data = _unpacked(data, most)
        except (binascii.Error, ValueError, zlib.error) as error:
            raise BadPlugin(f"'spec.module.{form}' can't be unpacked: {error}") from error
        if not data.startswith(MAGIC):
            raise BadPlugin(f"'spec.module.{form}' is no WebAssembly module of version 1")
    if len(data) > most:
        raise BadPlugin(f"'spec.module.{form}' has more than {most} bytes")
    return data


def _unpacked(data: bytes, most: int) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    found = stream.decompress(data, most + 1)
    if len(found) <= most and not stream.eof:
        raise ValueError("it ends in the middle")
    return found


def _module_of(spec: Mapping[str, Json]) -> tuple[Form, str]:
    module = _mapping(spec, "module")
    if "file" in module:
        raise BadPlugin("'spec.module.file' is for the command line, which puts the file in")
    given = [form for form in FORMS if module.get(form) is not None]
    if len(given) != 1:
        raise BadPlugin(f"'spec.module' needs one of {', '.join(FORMS)}")
    form = given[0]
    text = module[form]
    if not isinstance(text, str):
        raise BadPlugin(f"'spec.module.{form}' is no text")
    return form, text


def _uses(spec: Mapping[str, Json]) -> list[str]:
    uses = _texts(spec, "uses")
    for word in uses:
        if word not in USES:
            raise BadPlugin(f"'spec.uses' has {_shown(word)}; there are {', '.join(USES)}")
    return uses


def _hosts(spec: Mapping[str, Json], uses: list[str]) -> list[str]:
    hosts = _texts(spec, "allowed_hosts")
    if len(hosts) > _MOST_HOSTS:
        raise BadPlugin(f"'spec.allowed_hosts' has more than {_MOST_HOSTS} entries")
    if not all(_is_host(host.strip()) for host in hosts):
        raise BadPlugin(
            f"'spec.allowed_hosts' takes host, host:port, *.example.com or {SERVER_HOST}"
        )
    if "http" in uses and not hosts:
        raise BadPlugin("'spec.allowed_hosts' is empty, and 'spec.uses' has http")
    if hosts and "http" not in uses:
        raise BadPlugin("'spec.allowed_hosts' needs http in 'spec.uses'")
    return hosts


def _is_host(text: str) -> bool:
    if text == SERVER_HOST:
        return True
    return text not in {"", "*"} and not any(character in text for character in "/@")


def _limits(spec: Mapping[str, Json]) -> PluginLimits:
    limits = _mapping(spec, "limits") if spec.get("limits") is not None else {}
    for name, value in limits.items():
        least = {"fuel": 1, "memory_bytes": 1 << 16, "seconds": 0, "output_bytes": 1}.get(name)
        if least is None:
            raise BadPlugin(f"'spec.limits' has the unknown key {_shown(name)}")
        if value is None:
            continue
        kind = (int, float) if name == "seconds" else int
        if not isinstance(value, kind) or isinstance(value, bool) or value < least or value == 0:
            raise BadPlugin(f"'spec.limits.{name}' is {_shown(value)}, no number from {least}")
    return PluginLimits.model_validate(limits)


def _mapping(spec: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    found = spec.get(name)
    if not isinstance(found, Mapping):
        raise BadPlugin(f"'spec.{name}' is missing, or no mapping")
    return found


def _texts(spec: Mapping[str, Json], name: str) -> list[str]:
    found = spec.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadPlugin(f"'spec.{name}' is no list of texts")
    return list(dict.fromkeys(found))


def _shown(value: Json) -> str:
    if isinstance(value, str):
        return f"'{value[:_SHOWN]}'"
    return "missing" if value is None else repr(value)[:_SHOWN]
