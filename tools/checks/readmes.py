"""READMEs name what is there: of a service its subjects and rooms, of a package its modules.

A service's README names every subject that its login at the broker may use, and no other. What a
login may do is computed from the code (`noetl_contract.documents.broker_users`). Subjects
are named by their roots: what stands before the first parameter, ``noetl_write`` for
``noetl_write.{shard}.{bucket}.{execution_id}.{kind}``, and ``noetl_rpc.<service>`` for requests.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from findings import run, source_folders
from noetl_contract.channels import CHANNELS
from noetl_contract.documents.broker_logins import SERVICES, BrokerUser
from noetl_contract.documents.broker_users import broker_users
from noetl_contract.rpc.registry import all_operations

RECEIVED = "Messages received"
SENT = "Messages sent"

_ROW = re.compile(r"^\| (`.+?`) \|", re.MULTILINE)
_ROOMS = re.compile(r"^\| (room|module) \| holds \|\n\|---\|---\|\n((?:\|.*\n?)*)", re.MULTILINE)
_NAMED = re.compile(r"`([^`]+)`")
_ROOTS = sorted(
    ((channel.address or "").partition(".{")[0] for channel in CHANNELS if channel.address),
    key=len,
    reverse=True,
)
_SERVERS = frozenset(operation.service for operation in all_operations())
_READ = re.compile(r"\$JS\.ACK\.([^.]+)\.")
_BUCKET = "$O"


def root_of(subject: str) -> str | None:
    """Return the root of a subject or of a pattern; None for subjects of the broker itself.

    The bucket of large results has the root ``$O``, the requests to all services ``noetl_rpc``.
    """
    if subject.startswith("noetl_rpc."):
        service = subject.split(".")[1]
        if service in {">", "…"}:
            return "noetl_rpc"
        return f"noetl_rpc.{service}" if service in _SERVERS else None
    if subject.startswith(f"{_BUCKET}."):
        return _BUCKET
    return next((root for root in _ROOTS if f"{subject}.".startswith(f"{root}.")), None)


def rights(user: BrokerUser) -> tuple[set[str], set[str]]:
    """Return the roots of subjects that a login may receive from and send to.

    Who may acknowledge messages of a stream receives them from it.
    """
    read = {found[1] for found in map(_READ.match, user.publish) if found}
    stored = [channel.address or "" for channel in CHANNELS if channel.stream in read]
    received = {root_of(subject) for subject in (*user.subscribe, *stored)}
    sent = {root_of(subject) for subject in user.publish}
    return {root for root in received if root}, {root for root in sent if root}


def find(root: Path) -> Iterator[str]:
    """Find what a README lacks, and what it names that its service or package has not."""
    yield from _subjects(root)
    for package in source_folders(root):
        yield from _rooms(root, package)


def _subjects(root: Path) -> Iterator[str]:
    users = {user.name: user for user in broker_users()}
    for service, name in (*((one, one) for one in SERVICES), ("worker", "worker-shared")):
        path = root / "services" / service / "README.md"
        place = path.relative_to(root)
        if not path.exists():
            if path.parent.exists():
                yield f"{place} is not there"
            continue
        text = path.read_text()
        for title, wanted in zip((RECEIVED, SENT), rights(users[name]), strict=True):
            named = _named(text, title)
            for one in sorted(wanted - named):
                yield f"{place}: the table below `{title}` lacks `{one}`"
            for one in sorted(named - wanted):
                yield f"{place}: below `{title}` is `{one}`, which the service may not use"


def _rooms(root: Path, package: Path) -> Iterator[str]:
    """Compare the table of a package's rooms, which a service has to have, or of its modules."""
    path = package.parents[1] / "README.md"
    place = path.relative_to(root)
    rooms = {one.name for one in package.iterdir() if any(one.glob("*.py"))}
    table = _ROOMS.search(path.read_text()) if path.exists() else None
    if table is None:
        if rooms and place.parts[0] == "services":
            yield f"{place} has no table `room | holds`"
        return
    modules = {one.stem for one in package.glob("*.py") if not one.stem.startswith("__")}
    wanted = rooms if table[1] == "room" else rooms | modules
    named = {name.strip("/") for name in _NAMED.findall("".join(_ROW.findall(table[2])))}
    for one in sorted(wanted - named):
        yield f"{place}: the table of its {table[1]}s lacks `{one}`"
    for one in sorted(named - wanted):
        yield f"{place}: there is no {table[1]} `{one}`"


def _named(text: str, title: str) -> set[str]:
    """Return the roots in the first column of the table below a heading."""
    _, _, below = text.partition(f"## {title}\n")
    table = below.partition("\n## ")[0]
    cells = "".join(_ROW.findall(table))
    return {root_of(subject) or subject for subject in _NAMED.findall(cells)}


if __name__ == "__main__":
    run(find)
