"""Containers of steps on a real engine: ``make container-tool``, for minutes.

Takes the engine whose socket ``--socket`` names, or brings a Docker engine up (root on Debian). The
image is made of a static busybox, so no registry is needed. A stack runs playbooks whose containers
end in every way there is; the calls to the engine's API are counted by the worker's own metric.
Without an engine it says so and ends with 0.
"""

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import parts
from engine import NoEngineError
from engines import EnginePlace, engine_at, make_image
from noetl_testkit.stack import register, running_stack
from texts import PLAYBOOKS, VOLUME
from world import World, say, show


def prove(arguments: argparse.Namespace, scratch: Path) -> None:
    """Go through all parts, and print the result of each."""
    with ExitStack() as stack:
        engine, address = stack.enter_context(engine_at(arguments.socket, scratch))
        make_image(engine, scratch)
        engine.docker("volume", "create", VOLUME)
        stack.callback(engine.docker, "volume", "rm", "--force", VOLUME)
        settings = {
            "NOETL_CONTAINER_BACKEND": "engine",
            "NOETL_CONTAINER_ENGINE_URL": address,
            "NOETL_CONTAINER_TAKEOVER_SECONDS": "2",
            "NOETL_CONTAINER_VOLUMES": VOLUME,
        }
        running = stack.enter_context(running_stack(environment=settings))
        client = stack.enter_context(running.client())
        world = World(running, client, EnginePlace(engine))
        for text in PLAYBOOKS.values():
            register(client, text)
        shown = [
            ("every end", lambda: parts.ends(world, parts.ENDS)),
            ("volumes", lambda: parts.volumes(world)),
            ("cancel", lambda: parts.cancel(world)),
            ("removed by hand", lambda: parts.lost(world)),
            ("worker killed", lambda: parts.worker_killed(world)),
            ("everything killed", lambda: parts.everything_killed(world)),
            ("quiet", lambda: parts.quiet(world, arguments.quiet)),
            ("many at once", lambda: parts.many(world, arguments.many, arguments.quiet)),
        ]
        show(shown, arguments.only)


def main() -> int:
    """Prove, or say why it can't be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--socket", default="", help="an engine's socket; without it one is started"
    )
    parser.add_argument("--many", type=int, default=50, help="containers at once")
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds without a call")
    parser.add_argument(
        "--only", default="", help="parts whose name has one of these in it, by commas"
    )
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="noetl-ct-"))
    try:
        prove(arguments, scratch)
    except NoEngineError as error:
        say(f"not proven: {error}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
