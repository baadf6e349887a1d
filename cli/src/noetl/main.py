"""The command `noetl-server`."""

import typer
from noetl_common.process.ending import ending_at_once

from noetl.commands import doctor, keys, logins, operate, pauses, repair, schedules, up
from noetl.commands.run import run
from noetl.commands.upkeep import backup, letters, reshard
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
app.command()(repair.restart)
app.command()(repair.why)
app.command()(pauses.pause)
app.command()(pauses.resume)
app.command()(pauses.pauses)
app.command()(operate.status)
app.command(cls=doctor.Doctor)(doctor.doctor)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(reshard.reshard)
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


def main() -> None:
    """Run the command; an expected error is one line on stderr and exit code 1."""
    with told_by("noetl-server"):
        take_secret_files()
        with ending_at_once():
            app()
