"""connect vscode, zabbix: what an editor, or a Zabbix server of one's own, needs to know of hosts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlhost.cli import options

if TYPE_CHECKING:
    from dlhost.operations.connect import ForVSCode

app = typer.Typer(
    help="What other programs need to know of a host.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("vscode")
def vscode_command(
    inventory: options.Inventory,
    host: options.OneHost = "",
    write: Annotated[
        bool, typer.Option("--write", help="Keep the block in dlhost's own file, which ssh then reads.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Let ~/.ssh/config include that file without a question.")] = False,
) -> None:
    """Show the host as VS Code wants it: a block for Remote-SSH, and the address of its Jupyter servers."""
    from dlhost.operations.connect import vscode

    found = vscode(inventory, host, options.ask_secret())
    if not write:
        typer.echo(f"# For ~/.ssh/config, or with --write in a file of its own: Remote-SSH then lists {found.alias}.")
        typer.echo(found.block)
        _tell_servers(found)
        return
    left = _write(found, yes)
    _tell_servers(found)
    raise typer.Exit(left)


def _write(found: ForVSCode, yes: bool) -> int:
    from dlhost.adapters import ssh_config
    from dlhost.errors import ExitCode
    from dlhost.operations.connect import is_in_use

    changed = ssh_config.write_block(found.alias, found.block)
    typer.echo(f"# {found.alias} {'is now' if changed else 'is as it should be'} in {ssh_config.own_file()}.")
    if is_in_use(found):
        return ExitCode.DONE
    line, users_file = ssh_config.include_line(), ssh_config.users_file()
    consent = options.confirm(yes)
    if consent and consent(f"Let ssh read it, by `{line}` at the top of {users_file}?"):
        ssh_config.include()
        if not is_in_use(found):
            typer.echo(f"{users_file} includes it, and ssh does not go by it; see ssh -G {found.alias}.", err=True)
            return ExitCode.USER_MUST_ACT
        typer.echo(f"# {users_file} includes it now.")
        return ExitCode.DONE
    typer.echo(f"ssh does not read it yet. Put this line at the top of {users_file}:\n{line}", err=True)
    return ExitCode.USER_MUST_ACT


def _tell_servers(found: ForVSCode) -> None:
    """As comments, so that all of stdout may go to a configuration."""
    if found.unknown:
        typer.echo(f"Its Jupyter servers are not known: {found.unknown}", err=True)
    if found.servers:
        typer.echo("# In a notebook: Select Kernel, Existing Jupyter Server, the address, then the password.")
    for server in found.servers:
        way = server.way
        typer.echo(f"# Jupyter of {way.user}")
        typer.echo(f"#   address   {server.tunnelled or f'what `{server.tunnel_command}` prints'}")
        if way.url:
            typer.echo(f"#             or {way.url} where VS Code trusts the inventory's authority")
        if way.password:
            typer.echo(f"#   password  {way.password}")


@app.command("zabbix")
def zabbix_command(
    inventory: options.Inventory,
    limit: options.Limit = "",
    psk: Annotated[bool, typer.Option("--psk", help="Show the pre-shared keys as well; they are secrets.")] = False,
    template: Annotated[
        str, typer.Option("--template", help="Print the templates for this version of Zabbix.", metavar="VERSION")
    ] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", help="Write the templates there instead of printing them.", metavar="FILE")
    ] = "",
) -> None:
    """Show what a Zabbix server of your own needs to know: names, keys and templates to import."""
    from dlhost.errors import UsageError
    from dlhost.operations.connect import zabbix, zabbix_template

    if template:
        if psk:
            raise UsageError("--psk goes with the hosts, not with --template.")
        text = zabbix_template(template)
        if output:
            _write_template(Path(output), text)
        else:
            typer.echo(text, nl=False)
        return
    if output:
        raise UsageError("--output goes with --template.")
    found = zabbix(inventory, options.names(limit), options.ask_secret())
    typer.echo(
        "# In Zabbix, import the templates (--template), then make each host with them: dlhost GPU, dlhost host."
    )
    typer.echo("# Encryption, connections from and to the host: PSK.")
    for host in found:
        typer.echo(f"host name       {host.name}")
        typer.echo(f"  PSK identity  {host.psk_identity}")
        typer.echo(f"  PSK           {host.psk if psk else 'as --psk shows it'}")


def _write_template(path: Path, text: str) -> None:
    from dlhost.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
    typer.echo(path)
