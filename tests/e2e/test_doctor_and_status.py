"""`dlhost doctor` and `dlhost status` against real hosts; fake only are GPUs: a tree like sysfs, an nvidia-smi."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import USER, Host, Installed
from tests.unit import nvidia_smi_double as double

pytestmark = pytest.mark.e2e

GTX_1070, RTX_4090 = "1b81", "2684"
PASSWORD = "correct-horse-battery"  # noqa: S105  of a container that lives for one test
# What an interpreter is called on a host that has none.
HIDDEN = "/usr/bin/hidden-python3"


@pytest.fixture(scope="module")
def host(module_host: Callable[..., Host]) -> Host:
    """A bare host that the tests of this module share: none of them may change it for the next one."""
    return module_host()


def begin(dlhost: Installed, host: Host, group: str = "", more: str = "") -> None:
    """The inventory `rig` of the host, with variables of the host's own; in a group, where one is named."""
    hosts = dlhost.begin("rig", host) / "hosts.yml"
    text = hosts.read_text().replace("    rig:\n", f"    rig:\n{more}", 1)
    hosts.write_text(text + (f"  children: {{{group}: {{hosts: {{rig: }}}}}}\n" if group else ""))


def with_gpus(host: Host, *devices: str) -> str:
    """A tree like sysfs on the host, and the variable of the inventory that names it."""
    script = "rm -rf /srv/sysfs\n"
    for index, device in enumerate(devices, 1):
        place = f"/srv/sysfs/bus/pci/devices/0000:0{index}:00.0"
        files = {"vendor": "0x10de", "class": "0x030000", "device": f"0x{device}"}
        script += f"mkdir -p {place}\n" + "".join(f"echo {text} > {place}/{name}\n" for name, text in files.items())
    host.execute(script)
    return "      nvidia_driver_sysfs: /srv/sysfs\n"


def findings(document: dict[str, Any], topic: str, host: int = 0) -> list[dict[str, str]]:
    return [one for one in document["hosts"][host]["findings"] if one["topic"] == topic]


def files(host: Host) -> str:
    """Every file of the host with its times and sizes, but those of logins and of the kernel."""
    return host.execute(
        "find / -xdev -type f ! -path '/var/log/*' ! -path '/var/lib/systemd/*' ! -path '/run/*' ! -path '/tmp/*' "
        "-printf '%p %m %u %s %T@\\n' | sort"
    )


def test_beginning_an_inventory_costs_one_connection_without_a_login(dlhost: Installed, host: Host) -> None:
    """Many of them in a short time, and sshd turns this address away for a while."""
    visits = "journalctl --boot --unit ssh | grep -cF '[preauth]' || true"
    before = int(host.execute(visits))

    begin(dlhost, host)

    assert int(host.execute(visits)) - before == 1


def test_a_bare_host_with_two_cards_and_without_python(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host, more=with_gpus(host, GTX_1070, RTX_4090))
    host.execute(f"mv /usr/bin/python3 {HIDDEN}")
    try:
        before = files(host)
        told = dlhost.run("doctor", "-i", "rig")
        document = dlhost.document("doctor", "-i", "rig")
        assert files(host) == before, "doctor changed the host"
    finally:
        host.execute(f"mv {HIDDEN} /usr/bin/python3")

    assert document["exit_code"] == told.returncode == 0, told.stdout
    assert {one["verdict"] for one in document["controller"]} == {"pass"}
    assert [
        (gpu["device_id"], gpu["architecture"], gpu["compute_capability"]) for gpu in document["hosts"][0]["gpus"]
    ] == [
        (GTX_1070, "pascal", "6.1"),
        (RTX_4090, "ada", "8.9"),
    ]
    for topic in ("ssh", "system", "sudo", "disk", "python", "clock"):
        assert [one["verdict"] for one in findings(document, topic)] == ["pass"], topic
    assert findings(document, "python")[0]["seen"] == "none yet, role system brings it"
    # The mirrors of Debian that the image names do answer.
    assert {one["verdict"] for one in findings(document, "index")} == {"pass"}
    assert findings(document, "port_22") == [
        {"topic": "port_22", "verdict": "pass", "seen": "SSH: ssh.service has it", "todo": ""}
    ]
    assert findings(document, "kernel")[0]["verdict"] == "skip"
    assert re.search(
        r"pass +gpu +0000:02:00\.0 10de:2684: Ada, compute capability 8\.9; driven by nothing yet", told.stdout
    )
    assert told.stderr == ""


def test_a_branch_that_does_not_support_the_card(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host, "gpu", with_gpus(host, GTX_1070) + '      nvidia_driver_branch: "595"\n')
    refused = dlhost.run("doctor", "-i", "rig")
    before = files(host)
    provision = dlhost.run("provision", "-i", "rig", "--check", "--roles", "nvidia_driver")
    assert files(host) == before
    hosts = dlhost.inventories / "rig" / "hosts.yml"
    hosts.write_text(hosts.read_text().replace('"595"', '"580"'))
    document = dlhost.document("doctor", "-i", "rig")

    assert refused.returncode == 5
    sentence = "supported up to branch 580, not by 595"
    assert re.search(f"FAIL +compatibility +The .*GP104.* is {sentence}", refused.stdout)
    assert "→ set nvidia_driver_branch to 580" in refused.stdout
    # A run says the same, before any role begins.
    assert provision.returncode == 5
    assert sentence in provision.stderr
    assert document["exit_code"] == 0
    (fits,) = findings(document, "compatibility")
    assert fits["verdict"] == "pass"
    assert "driver 580 (proprietary kernel module), CUDA 12." in fits["seen"]


def test_a_host_without_a_card_is_told_that_it_gets_no_driver(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host, "gpu", with_gpus(host))

    told = dlhost.run("provision", "-i", "rig", "--check", "--roles", "nvidia_driver")

    assert told.returncode == 0, told.stdout
    assert re.search(r"nvidia_driver  ok.*\n    This host gets no driver: no NVIDIA GPU is on the PCI bus", told.stdout)


def test_a_port_that_somebody_else_has(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host, "web")
    host.execute("systemd-run --quiet --unit=squatter python3 -m http.server 443")
    try:
        told = dlhost.run("doctor", "-i", "rig")
        document = dlhost.document("doctor", "-i", "rig")
    finally:
        host.execute("systemctl stop squatter")

    (finding,) = findings(document, "port_443")
    assert finding["verdict"] == "fail"
    assert re.fullmatch(r"nginx_proxy: taken by python3 \(pid \d+, squatter\.service\)", finding["seen"])
    assert finding["todo"].startswith("sudo systemctl disable --now squatter.service")
    assert (document["exit_code"], told.returncode) == (5, 5)
    assert "→ sudo systemctl disable --now squatter.service" in told.stdout


def test_a_host_that_is_off_and_one_with_another_key(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host)
    hosts = dlhost.inventories / "rig" / "hosts.yml"
    text = hosts.read_text()
    # The port of `discard`, where nobody listens any more.
    hosts.write_text(text.replace("  vars:", "    gone: {ansible_host: 127.0.0.1, ansible_port: 9}\n  vars:", 1))
    document = dlhost.document("doctor", "-i", "rig")
    assert document["exit_code"] == 4
    rig, gone = sorted(document["hosts"], key=lambda one: str(one["host"] != "rig"))
    assert (rig["contact"], gone["contact"]) == ("reached", "unreachable")
    assert [one["topic"] for one in gone["findings"]] == ["ssh"]
    assert len(rig["findings"]) > 5
    assert dlhost.run("status", "-i", "rig").returncode == 4

    hosts.write_text(text)
    (dlhost.inventories / "rig" / ".ssh" / "known_hosts").write_text("")
    told = dlhost.run("doctor", "-i", "rig")
    assert told.returncode == 5
    assert "has a host key that you have not trusted yet" in told.stdout
    assert "→ To trust its key, run `dlhost ssh -i rig --host rig`" in told.stdout


def test_the_sudo_password(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host)
    sudoers = "/etc/sudoers.d/90-host-user"
    host.execute(f"echo '{USER} ALL=(ALL) ALL' > {sudoers}; echo '{USER}:{PASSWORD}' | chpasswd")
    try:
        alone = dlhost.document("doctor", "-i", "rig")
        person = terminal(dlhost, "doctor")
        person.expect("sudo password on rig:")
        person.sendline(PASSWORD)
        person.expect(pexpect.EOF)
        person.close()
    finally:
        host.execute(f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' > {sudoers}")

    assert alone["exit_code"] == 5
    assert [one["verdict"] for one in findings(alone, "sudo")] == ["fail"]
    # Without root its program is not seen; its unit is, where the engine shows the control groups of sockets.
    (port,) = findings(alone, "port_22")
    assert (port["verdict"], "ssh.service has it" in port["seen"]) in {("pass", True), ("warn", False)}
    assert person.exitstatus == 0
    assert "ssh.service has it" in person.before
    assert PASSWORD not in person.before


def test_what_a_host_is_doing(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host)
    script = double.program(f"{double.RTX_4090}\n{double.GTX_1070}\n", double.APPS)
    host.execute(f"cat > /usr/local/bin/nvidia-smi <<'END'\n{script}END\nchmod 0755 /usr/local/bin/nvidia-smi")
    try:
        before = files(host)
        told = dlhost.run("status", "-i", "rig")
        document = dlhost.document("status", "-i", "rig")
        assert files(host) == before, "status changed the host"
        screen = watched(dlhost)
    finally:
        host.execute("rm /usr/local/bin/nvidia-smi")

    assert told.returncode == document["exit_code"] == 0, told.stdout + told.stderr
    (rig,) = document["hosts"]
    assert rig["cores"] > 0
    assert 0 <= rig["busy_percent"] <= 100
    assert [(gpu["name"], gpu["load_percent"], gpu["power_w"]) for gpu in rig["gpus"]] == [
        ("NVIDIA GeForce RTX 4090", 93, 412.55),
        ("NVIDIA GeForce GTX 1070", 0, None),
    ]
    assert (rig["processes"][0]["pid"], rig["processes"][0]["user"]) == (1, "root")
    assert {"name": "ssh.service", "active": "active", "sub": "running"} in rig["units"]
    for words in ("NVIDIA GeForce RTX 4090  load 93 %", "ssh.service  active (running)", "GiB", "up "):
        assert words in told.stdout
        assert words in screen
    assert told.stderr == ""


def terminal(dlhost: Installed, command: str, *options: str) -> Any:
    """A command about the rig, with a person at a terminal without colours."""
    return pexpect.spawn(
        str(dlhost.program),
        [command, "-i", "rig", *options],
        cwd=str(dlhost.home),
        env=dlhost.environment | {"NO_COLOR": "1", "TERM": "xterm"},
        encoding="utf-8",
        timeout=60,
        dimensions=(40, 160),
    )


def watched(dlhost: Installed) -> str:
    """What `--watch` shows until it has redrawn once, and Ctrl-C is pressed."""
    screen = terminal(dlhost, "status", "--watch")
    screen.expect("ssh.service")
    first = str(screen.before)
    # The cursor goes up to where the picture begins.
    screen.expect(r"\x1b\[1A")
    screen.expect("ssh.service")
    screen.sendintr()
    screen.expect(pexpect.EOF)
    last = str(screen.before)
    screen.close()
    assert screen.exitstatus == 0
    return first + "ssh.service" + last


def test_a_driver_that_hangs(dlhost: Installed, host: Host) -> None:
    begin(dlhost, host)
    host.execute(
        "printf '#!/bin/sh\\ntrap \"\" TERM\\nwhile :; do sleep 1; done\\n' > /usr/local/bin/nvidia-smi;"
        "chmod 0755 /usr/local/bin/nvidia-smi"
    )
    try:
        told = dlhost.run("status", "-i", "rig", "--json")
        left = host.execute("grep -lx nvidia-smi /proc/[0-9]*/comm || true")
    finally:
        host.execute("rm /usr/local/bin/nvidia-smi")

    (rig,) = json.loads(told.stdout)["hosts"]
    assert rig["gpu_error"].startswith("nvidia-smi does not answer")
    assert rig["cores"] > 0
    assert left == ""
