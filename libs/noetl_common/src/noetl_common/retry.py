"""The one retry decorator: bounded, jittered, counted."""

from collections.abc import Callable

import stamina

from noetl_common.errors import Transient

__all__ = ["retry"]


def retry[**P, R](
    *,
    on: type[Exception] | tuple[type[Exception], ...] = Transient,
    attempts: int = 5,
    timeout_seconds: float = 30.0,
    wait_initial_seconds: float = 0.1,
    wait_max_seconds: float = 5.0,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Call a function again while it fails with ``on``, with exponential, jittered pauses.

    The last error is raised when attempts or time are used up. For functions that are safe to
    repeat. Retries are logged and counted (``stamina_retries_total``).
    """
    return stamina.retry(
        on=on,
        attempts=attempts,
        timeout=timeout_seconds,
        wait_initial=wait_initial_seconds,
        wait_max=wait_max_seconds,
        wait_jitter=min(1.0, wait_max_seconds),
    )
