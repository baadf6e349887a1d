"""Version and revision of a process, as a metric."""

import platform
from importlib.metadata import PackageNotFoundError, version

from noetl_common.metrics import gauge

UNKNOWN = "unknown"


def tell_build(service: str, *, revision: str) -> None:
    """Export service, version, revision and Python's version as labels of ``noetl_build_info``."""
    info = gauge(
        "noetl_build_info",
        "1, with what the process was built from.",
        ("service", "version", "revision", "python"),
    )
    revision = revision or UNKNOWN
    info.labels(service, version_of(service), revision, platform.python_version()).set(1)


def version_of(service: str) -> str:
    """Return the version of a service's package, `unknown` without one."""
    try:
        return version(f"noetl-{service}")
    except PackageNotFoundError:
        return UNKNOWN
