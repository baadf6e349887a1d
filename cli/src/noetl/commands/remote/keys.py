"""`key`: API keys of a running server, made, listed and revoked."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from noetl_contract.access.keys import KeyWish
from noetl_contract.access.rights import Right, Role

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_json, print_table
from noetl.follow.servers import server_of

app = typer.Typer(no_args_is_help=True, help="API keys of a running server.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the principal; shown in the audit.")],
    *,
    role: Annotated[
        list[Role], typer.Option("--role", help="What the key may do; may be repeated.")
    ],
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", metavar="PREFIX", help="Paths that it reaches; else all."),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option("--pool", metavar="POOL", help="Worker pools beside the open ones."),
    ] = None,
    grant: Annotated[
        list[Right] | None,
        typer.Option("--grant", help="A single right, such as secrets.read."),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0.001, help="Days until the key expires; else never.")
    ] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once."""
    wish: dict[str, object] = {"name": name, "roles": tuple(role)}
    if namespace:
        wish["namespaces"] = tuple(namespace)
    wish |= {"pools": tuple(pool or ()), "grants": tuple(grant or ())}
    if days is not None:
        wish["expires_at"] = datetime.now(UTC) + timedelta(days=days)
    with server_of(server_url, token=token, data=data) as server:
        made = server.keys.create(KeyWish.model_validate(wish))
    if as_json:
        print_json(made)
        return
    typer.echo(made.token)
    typer.echo(f"key {made.key_id} of {made.name}; it is shown this once", err=True)


@app.command("list")
def list_keys(
    *,
    with_revoked: Annotated[bool, typer.Option("--revoked", help="Revoked keys too.")] = False,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List keys without their secrets, newest first."""
    with server_of(server_url, token=token, data=data) as server:
        found = server.keys.list(with_revoked=with_revoked)
    if as_json:
        print_json(found.keys)
        return
    rows = [("ID", "NAME", "ROLES", "NAMESPACES", "LAST USED", "STATE")]
    for key in found.keys:
        state = "valid"
        if key.revoked_at is not None:
            state = "revoked"
        elif key.expires_at is not None:
            state = ("until " if key.expires_at > datetime.now(UTC) else "over since ") + _day(
                key.expires_at
            )
        namespaces = ",".join(one or "*" for one in key.namespaces)
        used = "-" if key.last_used_at is None else _day(key.last_used_at)
        rows.append((key.key_id, key.name, ",".join(key.roles), namespaces, used, state))
    print_table(rows)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `list` shows it.")],
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """Revoke a key; all edges refuse it at once."""
    # The key itself will do as well: its id is in it.
    parts = key_id.split("_", 2)
    key_id = parts[1] if key_id.startswith("nk_") and len(parts) > 1 else key_id
    with server_of(server_url, token=token, data=data) as server:
        gone = server.keys.revoke(key_id)
    typer.echo(f"key {gone.key_id} is revoked since {gone.revoked_at.isoformat()}")


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
