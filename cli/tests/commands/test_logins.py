"""`nats-users`: its output is a configuration that nats-server takes."""

import os
import subprocess
from pathlib import Path

import pytest
from noetl.main import app
from noetl.stack.servers import binaries
from noetl_bus.nkeys import from_seed, new_seed
from noetl_contract.documents.broker_users import broker_users
from typer.testing import CliRunner


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["nats-users", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(("options", "kind"), [((), "PASSWORD"), (("--nkeys",), "NKEY")])
def test_a_server_takes_the_users_with_passwords_or_keys_from_its_environment(
    tmp_path: Path, options: tuple[str, ...], kind: str
) -> None:
    file = tmp_path / "nats.conf"
    file.write_text(printed(*options))
    passwords = {
        f"NATS_{user.name.upper().replace('-', '_')}_{kind}": (
            from_seed(new_seed(), variable="seed").public if options else f"p{number}"
        )
        for number, user in enumerate(broker_users())
    }

    def tested(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(binaries.nats_server()), "-t", "-c", str(file)],
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    assert tested(passwords).returncode == 0


def test_pools_and_durables_of_other_names_are_named() -> None:
    text = printed("--pools", "gpu=gpu_workers,shared", "--default-inbox", "gpu")

    assert '"$JS.API.CONSUMER.MSG.NEXT.NOETL_COMMANDS.gpu_workers"' in text
    assert '"$JS.API.CONSUMER.CREATE.NOETL_COMMANDS.gpu_workers.noetl.commands.gpu.>"' in text
    gpu = text[text.index('"worker-gpu"') : text.index('"worker-shared"')]
    assert 'subscribe: { allow: ["_INBOX.>", "noetl_control.gpu", "noetl_hint.watch"] }' in gpu
    assert "worker-system" not in text
