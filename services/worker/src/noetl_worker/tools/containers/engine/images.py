"""Images come to an engine."""

import asyncio

from noetl_worker.tools.containers.backend import BackendError, NotStarted
from noetl_worker.tools.containers.engine.api import EngineApi


async def pull(api: EngineApi, image: str, *, seconds: float) -> None:
    """Have an image fetched.

    Raises:
        NotStarted: it can't be had, or not in time.
        BackendError: the engine is not there.
    """
    name, tag = _parts(image)
    params = {"fromImage": name, **({"tag": tag} if tag else {})}
    try:
        async with (
            asyncio.timeout(seconds),
            api.lines("pull", "POST", "/images/create", params=params, seconds=0) as progress,
        ):
            async for line in progress:
                error = line.get("error")
                if isinstance(error, str):
                    raise _failed(image, error)
    except TimeoutError as error:
        raise _failed(image, f"it did not come within {seconds:g} seconds") from error
    except BackendError as error:
        if error.status is None:
            raise
        raise _failed(image, str(error)) from error


def _failed(image: str, text: str) -> NotStarted:
    return NotStarted("failed_image_pull", f"image '{image}': {text[:500]}")


def _parts(image: str) -> tuple[str, str]:
    """Return name and tag of an image; without either a tag or a digest the newest is meant."""
    if "@" in image:
        return image, ""
    stem, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    return f"{stem}{slash}{name}", tag if colon else "latest"
