"""The table of role firewall in the host's kernel, the unit that loads it, and what else filters packets there."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import owned_files
from ansible_collections.dlhost.host.plugins.module_utils.commands import failure, run
from ansible_collections.dlhost.host.plugins.module_utils.firewall_rules import Opening, lets_in, with_ssh_ports
from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    AGAIN,
    UNIT_DIRECTORY,
    Listener,
    RefusedError,
    Unit,
    find_units,
    make_startable,
    must,
)

# The path of who becomes root by su may leave it out.
NFT = "/usr/sbin/nft"
TABLE = ("table", "inet", "dlhost")
EMPTY = "table inet dlhost\ndelete table inet dlhost\n"
RULES = Path("/etc/dlhost/firewall.nft")
UNIT = "dlhost-firewall.service"
UNIT_FILE = UNIT_DIRECTORY / UNIT
AT_BOOT = UNIT_DIRECTORY / "sysinit.target.wants" / UNIT
# Docker forwards what arrives from outside, and this program of its takes only what does not.
FORWARDED = "docker-proxy,"
LOOPBACK = ("127.", "::1")
UFW = Path("/etc/ufw/ufw.conf")


def loaded() -> str:
    """The table as the kernel has it, in nft's own words; empty where there is none."""
    answer = run(NFT, "--stateless", "list", *TABLE)
    return answer.stdout if answer.returncode == 0 else ""


def meant() -> str:
    """The table that the file makes, in the same words: nft loads it where there is no network.

    Raises:
        RefusedError: The kernel does not take it.
    """
    answer = run("unshare", "--net", "sh", "-c", f"{NFT} --file {RULES} && {NFT} --stateless list {' '.join(TABLE)}")
    if answer.returncode != 0:
        raise RefusedError(f"The kernel does not take {RULES}: {' '.join(answer.stderr.split())}")
    return answer.stdout


def unit_problems(unit: Unit) -> list[str]:
    """How the unit differs from one that has loaded the file and will at every boot, in words that follow its name."""
    return unit.boot_problems if unit.active else [*unit.boot_problems, "has not loaded the rules"]


def shut_out(listeners: list[Listener], let_in: list[Opening]) -> list[Listener]:
    """Those that listen beyond loopback and that nobody may reach; published ports of containers are forwarded."""
    beyond = [each for each in listeners if not each.address.startswith(LOOPBACK)]
    return [each for each in beyond if not each.program.startswith(FORWARDED) and not lets_in(let_in, each.port)]


def refuse_other_firewalls() -> None:
    """Raises RefusedError where another program keeps the host's ports."""
    words = UFW.read_text(errors="replace").lower().split() if UFW.exists() else []
    if "enabled=yes" in words:
        other, off = "ufw", "ufw disable"
    elif find_units(["firewalld.service"])["firewalld.service"].active:
        other, off = "firewalld", "systemctl disable --now firewalld"
    else:
        return
    raise RefusedError(
        f"{other} keeps this host's ports, and two firewalls let in only what both do. Switch it off ({off}), or "
        f"set firewall_state to absent, {AGAIN}"
    )


def load(unit: Unit) -> None:
    """Have the kernel take the file in place, now and at every boot.

    Raises:
        RefusedError: It does not, or took something else.
    """
    must("systemctl", "daemon-reload")
    make_startable({UNIT: unit})
    must("systemctl", "reload-or-restart", UNIT)
    if loaded() != meant():
        raise RefusedError(f"The kernel has other rules than {RULES} says.")


def unload() -> None:
    """Take the table and what is left of the unit away; the files are gone already."""
    AT_BOOT.unlink(missing_ok=True)
    run("systemctl", "stop", UNIT)
    must("systemctl", "daemon-reload")
    if not Path(NFT).exists():
        return  # Its owner has purged it; a table that outlived that goes with the next boot.
    empty = run(NFT, "--file", "-", given=EMPTY)
    if empty.returncode != 0:
        raise RefusedError(failure(empty))


def letting_in(ports: list[int]) -> list[owned_files.OwnedFile]:
    """The rules' file with SSH on these ports, too, where there is one without; role firewall takes old ports out."""
    found = owned_files.find(RULES)
    try:
        text = (found.content or b"").decode()
    except UnicodeDecodeError:
        return []  # Damaged: role firewall writes it anew.
    with_ports = with_ssh_ports(text, ports)
    if with_ports == text:
        return []
    return [owned_files.OwnedFile(RULES, with_ports.encode(), found.mode, found.owner, found.group)]


def put_back_lines(unit: Unit) -> list[str]:
    """Lines of sh that bring back what is loaded now, once the files are back; `unit` as it is now."""
    back = [f"ln -sf {UNIT_FILE} {AT_BOOT}"] if unit.enabled else []
    back += [f"systemctl start --no-block {UNIT}"] if unit.active else []
    return [
        f"    if [ -e {UNIT_FILE} ]; then {'; '.join(back) or ':'}",
        f"    else rm -f {AT_BOOT}; systemctl stop --no-block {UNIT}; fi",
        # Where the program has gone, nothing can be loaded, and a boot begins without a table.
        f"    [ ! -x {NFT} ] || {NFT} --file - <<'END' || left=yes",
        # A line of the table cannot be taken for the end: nft indents what it lists.
        f"{EMPTY}{loaded()}END",
    ]
