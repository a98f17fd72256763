"""The way to the Zabbix server of a monitored host: by the host itself, whose agent has the address and the key."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dlhost.adapters import openssh
from dlhost.adapters.ansible_env import content_root, plugin_filter
from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact
from dlhost.values.templates import is_template

# Of role zabbix_agent; it has the agent's name, server and key.
SENDER = "/usr/lib/dlhost/zabbix-sender"
SENDER_TIMEOUT_S = 15
TIMEOUT_S = 40
TEMPLATES = Path("roles") / "zabbix_server" / "files"
TEMPLATE = "dlhost.yaml"


@dataclass(frozen=True, slots=True)
class Message:
    """A value for an item of a host's; `password` is what sudo wants there, if anything."""

    host: Host
    item: str
    value: str
    password: str | None = field(default=None, repr=False)


def tell(messages: Iterable[Message], control_path_dir: Path) -> list[str]:
    """Send every message at once; returns a sentence for each that did not arrive."""

    def one(message: Message) -> str:
        why = _sent(message, control_path_dir)
        return f"{message.host.name}: Zabbix was not told the result: {why}." if why else ""

    with ThreadPoolExecutor(max_workers=openssh.AT_ONCE) as pool:
        return [sentence for sentence in pool.map(one, messages) if sentence]


def _sent(message: Message, control_path_dir: Path) -> str:
    """Why a message did not arrive; empty where it did."""
    password, sudo = ("", "sudo -n") if message.password is None else (message.password, "sudo -S -p ''")
    sender = [SENDER, message.item, message.value]
    # The shell's own printf: the password is in no command line.
    script = f"""
set -- timeout {SENDER_TIMEOUT_S} {shlex.join(sender)}
[ "$(id -u)" = 0 ] || set -- {sudo} "$@"
said=$(printf '%s\\n' {shlex.quote(password)} | LC_ALL=C "$@" 2>&1)
echo "code=$?"
printf '%s\\n' "$said" | sed 's/^/said=/'
echo complete=yes
"""
    answer = openssh.ask(message.host, control_path_dir, script, TIMEOUT_S)
    if answer.contact is not Contact.REACHED:
        return answer.why
    lines = [line.partition("=") for line in answer.printed.splitlines()]
    code = next((text for name, _, text in lines if name == "code"), "")
    return "" if code == "0" else _reason(code, [text.strip() for name, _, text in lines if name == "said"])


def _reason(code: str, said: list[str]) -> str:
    if code == "124":
        return f"its server did not answer within {SENDER_TIMEOUT_S} s"
    if any("processed: 0; failed: 1" in line for line in said):
        return "its server knows no such item of this host"
    words = [line for line in said if line]
    return words[-1].rstrip(".") if words else f"zabbix-sender ended with {code}"


def derived_key(host: Host) -> str:
    """The pre-shared key of a host that has none of its own, as role zabbix_agent derives it.

    Empty where there is no secret, or only a run knows it.
    """
    secret = host.variables.get("zabbix_agent_psk_secret")
    if not secret or is_template(secret):
        return ""
    key: str = plugin_filter("zabbix_psk").zabbix_psk(str(secret), host.name)
    return key


def template_versions() -> list[str]:
    """The versions of Zabbix from which on there is a template file, the oldest first."""
    return sorted(path.parent.name for path in (content_root() / TEMPLATES).glob(f"*/{TEMPLATE}"))


def template(version: str) -> str:
    """The text of one of them."""
    return (content_root() / TEMPLATES / version / TEMPLATE).read_text(encoding="utf-8")
