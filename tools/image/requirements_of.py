"""Requirements of some of our packages, with hashes: the part of requirements.txt for them.

Reads the lines `# via` of the lock, which say who needs a package. By hand:
``python tools/image/requirements_of.py noetl-worker < requirements.txt``.
"""

import re
import sys
from collections.abc import Iterator

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def entries(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """Yield name, text and users of each package of a lock."""
    for text in re.split(r"\n(?=[A-Za-z0-9])", lock.strip()):
        named = _NAME.match(text)
        if named is None:
            raise ValueError(f"no name at the beginning of {text[:60]!r}")
        users = re.sub(r"(?s).*?\n    # via", "", text, count=1) if "# via" in text else ""
        yield named[0], text, set(_NAME.findall(users))


def needed(lock: str, packages: set[str], *, without: frozenset[str] = frozenset()) -> list[str]:
    """Return the entries that packages of ours need, directly or by others.

    Args:
        lock: text of the lock.
        packages: names.
        without: what is left out, with what is needed by that alone.
    """
    known = [entry for entry in entries(lock) if entry[0] not in without]
    users = set(packages)
    while more := {name for name, _, via in known if via & users} - users:
        users |= more
    return [text for name, text, _ in known if name in users]


if __name__ == "__main__":
    sys.stdout.write("\n".join(needed(sys.stdin.read(), set(sys.argv[1:]))) + "\n")
