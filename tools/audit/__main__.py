"""`python -m tools.audit`: grade a host that dlhost provisioned, and the same image untouched, by programs not ours.

ssh-audit (PyPI) looks from here, nmap and testssl.sh from a second host, lynis and systemd on the host itself, all from
Debian. Prints the table of docs/security.md, and writes it there with --write. Exit code 1 says that a grade is worse
than what docs/security.md argues. With --compare DIR, a checkout of dev-sec's ansible-collection-hardening, a third
host is what its roles make of the image.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.contenders import run
from benchmarks.estate import Estate, Host, open_estate
from dlhost.adapters import container as engine
from dlhost.errors import DlhostError
from tools.audit import graders
from tools.audit.graders import Grades
from tools.audit.table import DOCUMENT, short_of, table, written

BIN = Path(sys.executable).parent
NAME = "rig.example.org"
# Everything that serves runs there, and no firewall: what listens for other hosts by mistake is to be seen.
GROUPS = ("workspace", "desktop", "web", "monitoring_server", "monitored")
SETTINGS: dict[str, object] = {
    "ssh_hardening_crypto": "strict",
    "jupyter_tensorboard": True,
    "vnc_web": True,
}
SCANNERS = "apt-get -qq update; apt-get -qq install -y --no-install-recommends nmap testssl.sh"
# Its grade needs all of its parts.
TESTSSL = """
printf %s "$2" > /root/ca.pem
testssl --quiet --warnings off --ip "$1" --add-ca /root/ca.pem --overwrite --jsonfile /root/said "$3" >/dev/null || true
cat /root/said
"""
LYNIS = """
apt-get -qq update
apt-get -qq install -y --no-install-recommends lynis >/dev/null
lynis audit system --quick --quiet >/dev/null || true
cat /var/log/lynis-report.dat
"""
# What starts once with root's rights, loads the firewall's rules and is gone, has nothing that could be taken over.
RUNNING = "systemctl list-units --type=service --state=running --plain --no-legend --full 'dlhost-*'"
# As its own tests have it in containers, where nobody may set the kernel's values or read its audit.
COMPARED = """
- hosts: all
  become: true
  vars: {os_auditd_enabled: false, sysctl_config: {}}
  tasks:
    - ansible.builtin.apt: {update_cache: true}
    - ansible.builtin.include_role: {name: devsec.hardening.os_hardening}
    - ansible.builtin.include_role: {name: devsec.hardening.ssh_hardening}
"""


def main() -> None:
    """Grade the hosts; exit code 1 where a grade falls short."""
    options = _options()
    # Ended by another program, it still removes its hosts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with open_estate(options.debian) as estate:
            made: dict[str, Callable[[Estate], Host]] = {"untouched": Estate.host, "dlhost": _provisioned}
            if options.compare:
                made["dev-sec"] = partial(_compared, checkout=options.compare)
            pool = ThreadPoolExecutor()
            try:
                scanner = pool.submit(_scanner, estate)
                hosts = dict(zip(made, pool.map(lambda make: make(estate), made.values()), strict=True))
                grade = partial(_grade, scanner=scanner.result(), authority=estate.authority.certificate)
                graded = dict(zip(hosts, pool.map(grade, hosts.values()), strict=True))
            finally:
                # What still works on a host ends when the host goes.
                pool.shutdown(wait=False, cancel_futures=True)
    except (DlhostError, RuntimeError) as error:
        sys.exit(str(error))
    text = table(graded, options.debian)
    print(text)
    if options.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), text))
    sys.exit("\n".join(short_of(graded["dlhost"])) or 0)


def _scanner(estate: Estate) -> Host:
    """The host that looks at the others: an older testssl.sh than that of Debian 13 gives no grades."""
    host = estate.host(engine.image(engine.engine(), "13"))
    engine.execute(host.container, SCANNERS)
    return host


def _provisioned(estate: Estate) -> Host:
    """A host that is for everything; without a firewall, as by default."""
    host = estate.host()
    names = {"tls_names": [host.address, NAME, "localhost"]}
    inventory = estate.inventory(host, settings=SETTINGS | names, groups=GROUPS)
    for operation in (["provision", "--yes"], ["verify"]):
        run([str(BIN / "dlhost"), *operation, "-i", inventory.name], os.environ, expect=(0, 6))
    return host


def _compared(estate: Estate, checkout: Path) -> Host:
    """A host as dev-sec's roles leave it, by Ansible as a user has it."""
    host = estate.host()
    inventory = estate.inventory(host)
    with tempfile.TemporaryDirectory() as directory:
        namespace = Path(directory) / "ansible_collections" / "devsec"
        namespace.mkdir(parents=True)
        (namespace / "hardening").symlink_to(checkout.absolute())
        playbook = Path(directory) / "playbook.yml"
        playbook.write_text(COMPARED)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment = {**kept, "ANSIBLE_COLLECTIONS_PATH": directory, "LC_ALL": "C.UTF-8"}
        run([str(BIN / "ansible-playbook"), "-i", str(inventory.plain), str(playbook)], environment)
    return host


def _grade(host: Host, scanner: Host, authority: str) -> Grades:
    # It ends with 2 or 3 where it warns.
    ssh = run([str(BIN / "ssh-audit"), "--skip-rate-test", "--json", host.address], os.environ, expect=(0, 2, 3))
    failures, warnings = graders.ssh_audit(ssh.stdout)
    ports = graders.nmap(
        engine.execute(scanner.container, f"nmap -Pn -n -p- --min-rate 3000 --max-retries 2 -oG - {host.address}")
    )
    is_served = engine.HTTPS in ports
    tls = engine.execute(scanner.container, TESTSSL, host.address, authority, f"https://{NAME}") if is_served else "[]"
    grade, findings = graders.testssl(tls)
    units = engine.execute(host.container, "systemd-analyze security --no-pager --json=short")
    return Grades(
        ssh_failures=failures,
        ssh_warnings=warnings,
        tls=grade,
        tls_findings=findings,
        hardening_index=graders.lynis(engine.execute(host.container, LYNIS)),
        exposures=graders.systemd(units, engine.execute(host.container, RUNNING)),
        ports=ports,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("--debian", default="13", choices=["12", "13"], help="release of the hosts (default 13)")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="a checkout of dev-sec's hardening collection")
    parser.add_argument("--write", action="store_true", help="put the table into docs/security.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
