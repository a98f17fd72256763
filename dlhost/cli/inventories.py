"""init, inventories, inventory show, roles: what there is, and how to begin."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options
from dlhost.values.new_inventory import NewInventory, Profile

inventory_app = typer.Typer(help="Look at one inventory.", no_args_is_help=True, rich_markup_mode=None)


def init_command(
    name: Annotated[str, typer.Argument(help="What to call the inventory, and its first host.")],
    host: Annotated[str, typer.Option("--host", help="The host's address or DNS name.", metavar="HOST")],
    user: Annotated[str, typer.Option("--user", help="Who to log in as; needs sudo.", metavar="USER")],
    port: Annotated[int, typer.Option("--port", help="Its SSH port.", min=1, max=65535)] = 22,
    key: Annotated[str, typer.Option("--key", help="A private key, where it is not your usual one.")] = "",
    profile: Annotated[Profile, typer.Option("--profile", help="What kind of machine it is.")] = Profile.HOME_RIG,
    fingerprint: Annotated[
        list[str],
        typer.Option(
            "--fingerprint",
            help="A host key you expect, as SHA256:…; then nothing is asked, and no other is trusted. Repeatable.",
            metavar="SHA256:…",
        ),
    ] = [],  # noqa: B006  Typer copies it
) -> None:
    """Begin an inventory for one host: commented files, its trusted host key, a vault with generated secrets."""
    from pathlib import Path

    from dlhost.operations.init import init

    key_file = str(Path(key).expanduser().absolute()) if key else ""
    new = NewInventory(name, host, user, port, profile, key_file)
    begun = init(new, fingerprint, options.confirm(yes=False))
    typer.echo(f"Inventory {name}: {begun.location.path}")
    typer.echo(f"Vault: {begun.location.path / 'group_vars/all/vault.yml'} ({len(begun.secrets)} secrets generated)")
    typer.echo(f"Vault password: {begun.vault_password}   keep a copy; without it the vault cannot be opened")
    typer.echo("Next:")
    for step in begun.next_steps:
        typer.echo(f"  {step}")


def inventories_command(json: options.Json = False) -> None:
    """List the inventories, with their last run."""
    from dlhost.operations.inventories import overview

    rows = overview()
    if json:
        options.print_json({"schema_version": 1, "inventories": rows})
        return
    if not rows:
        typer.echo("No inventory yet. Begin one: dlhost init NAME --host HOST --user USER", err=True)
    for row in rows:
        last = row["last_run"]
        ran = (
            f"{last['operation']} {last['started'][:16].replace('T', ' ')} exit {last['exit_code']}"
            if last
            else "never run"
        )
        typer.echo(f"{row['name']:<20}  {ran}  {row['path']}")


@inventory_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="Inventory.", autocompletion=options.complete_inventory)],
    json: options.Json = False,
) -> None:
    """Show an inventory's hosts, groups and the variables it sets, secrets hidden."""
    from dlhost.operations.inventories import show

    document = show(name, options.ask_secret())
    if json:
        options.print_json(document)
        return
    typer.echo(f"{document['name']}  {document['path']}")
    for host in document["hosts"]:
        typer.echo(f"  {host['name']}  {host['user']}@{host['address']}:{host['port']}  {', '.join(host['groups'])}")
    for setting in document["settings"]:
        typer.echo(f"  {setting['name']} = {setting['value']}   {setting['file']}:{setting['line']}")


def roles_command(
    name: Annotated[str, typer.Argument(help="One role.", autocompletion=options.complete_role)] = "",
    json: options.Json = False,
) -> None:
    """List the roles, or one role's variables."""
    from dlhost.adapters import content
    from dlhost.operations.run import chosen_roles
    from dlhost.render import reference

    schemas = content.role_schemas()
    if name:
        chosen_roles(schemas, (name,), ())
    chosen = [schema for schema in schemas if not name or schema.role == name]
    if json:
        options.print_json({"schema_version": 1, "roles": [reference.document(schema) for schema in chosen]})
    elif name:
        typer.echo(reference.plain(chosen[0], content.default_values(name)))
    else:
        for schema in chosen:
            typer.echo(f"{schema.role:<16}  {schema.summary}")
