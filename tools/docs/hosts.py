"""Services that run the entry points of packages, by the group of the entry points."""

import tomllib
from pathlib import Path
from typing import Final

_LOCK = "requirements.txt"
_HOSTS: Final = {"noetl.edge_fronts": "api-gateway"}


def hosted_by(service: str, root: Path) -> list[Path]:
    """Return the source folders of the workspace's packages that run in a service.

    Those with a lock of their own are left out: what they need isn't installed here.
    """
    found = []
    for file in sorted(root.glob("packages/*/pyproject.toml")):
        groups = tomllib.loads(file.read_text())["project"].get("entry-points", {})
        hosts = {_HOSTS.get(group) for group in groups}
        if service in hosts and not file.with_name(_LOCK).exists():
            found += sorted(file.parent.glob("src/*"))
    return found
