"""Files that only their owner may read, replaced in one step."""

import os
from collections.abc import Callable
from pathlib import Path


def write_private(
    path: Path,
    text: str,
    *,
    durable: bool = False,
    give: Callable[[Path], None] = lambda _: None,
) -> None:
    """Replace a file in one step, so that readers never see half of it.

    Args:
        path: the file.
        text: its new content.
        durable: whether it has to survive a power cut from now on.
        give: hands it to another owner before it is in its place.
    """
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(handle)
    give(temporary)
    temporary.replace(path)
