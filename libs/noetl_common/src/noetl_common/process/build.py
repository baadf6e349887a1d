"""What a process was built from, as a metric."""

import platform
from importlib.metadata import PackageNotFoundError, version

from noetl_common.metrics import gauge

_UNKNOWN = "unknown"


def tell_build(service: str, *, revision: str) -> None:
    """Export service, version, revision and Python's version as labels of ``noetl_build_info``."""
    info = gauge(
        "noetl_build_info",
        "1, with what the process was built from.",
        ("service", "version", "revision", "python"),
    )
    revision = revision or _UNKNOWN
    info.labels(service, _version_of(service), revision, platform.python_version()).set(1)


def _version_of(service: str) -> str:
    try:
        return version(f"noetl-{service}")
    except PackageNotFoundError:
        return _UNKNOWN
