"""The command `noetl-server`."""

import typer
from noetl_common.process.program import ending_at_once

from noetl.commands import doctor, logins, operate, up
from noetl.commands.completion import answer_shells, completion
from noetl.commands.packages import add_commands
from noetl.commands.remote import (
    credentials,
    executions,
    failures,
    keys,
    pauses,
    repair,
    schedules,
)
from noetl.commands.remote.documents import register
from noetl.commands.remote.opening import open_console
from noetl.commands.run import run
from noetl.commands.upkeep import backup, letters
from noetl.commands.validate import schema, validate
from noetl.stack.errors import told_by
from noetl.stack.services import take_secret_files

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="The NoETL control plane on one machine, and its operator commands.",
)
app.command()(up.up)
app.command()(run)
app.command()(validate)
app.command()(schema)
app.command()(register)
app.command()(executions.start)
app.command("list")(executions.list_things)
app.command()(executions.cancel)
app.command()(executions.signal)
app.command("open")(open_console)
app.command()(repair.restart)
app.command()(repair.why)
app.command()(pauses.pause)
app.command()(pauses.resume)
app.command()(pauses.pauses)
app.command()(operate.status)
app.command(cls=doctor.Doctor)(doctor.doctor)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(operate.logs)
app.command()(operate.migrate)
app.command()(operate.topology)
app.command()(operate.rebuild)
app.command()(operate.env)
app.command()(logins.nats_users)
app.command()(logins.db_roles)
app.add_typer(letters.app, name="dead-letters")
app.add_typer(keys.app, name="key")
app.add_typer(schedules.app, name="schedule")
app.command()(schedules.backfill)
app.add_typer(credentials.app, name="credential")
app.add_typer(failures.app, name="failures")
app.command()(completion)
add_commands(app)


def main() -> None:
    """Run the command; an expected error is printed on stderr, with its exit code."""
    with told_by("noetl-server"):
        answer_shells()
        take_secret_files()
        with ending_at_once():
            app()
