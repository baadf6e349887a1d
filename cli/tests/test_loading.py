"""Costs of commands that are over at once."""

import subprocess
import sys


def test_commands_begin_without_the_clients_of_broker_and_database() -> None:
    program = "import sys, noetl.main; print({'nats', 'asyncpg', 'uvicorn'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"
