"""Monitoring as its owner has it: a Zabbix server on one host, agents on that and two more, all by `dlhost provision`.

The cards are doubles (tests/unit/nvidia_smi_log_double.py); server, database, frontend, agents and network are real.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from dlhost.errors import ExitCode
from tests.e2e.browser import browser, picture
from tests.e2e.conftest import USER, Host, Installed
from tests.e2e.zabbix import MACROS, Zabbix, tell, until, zabbix
from tests.unit import nvidia_smi_log_double as double

pytestmark = pytest.mark.e2e

DOUBLE = Path(double.__file__).read_text(encoding="utf-8")
SERVER, TRAINER, ELDER = "hub", "trainer", "elder"
CARDS = {TRAINER: ["trainer", "trainer"], ELDER: ["desktop"]}
# Every 30 s would make a long test; of an item that a template brought, a host may have an interval of its own.
INTERVAL_S = 5
CUT_S = 60
MIB = 1 << 20
# Of these nothing is kept on the server, however long it keeps values.
RAW = ("dlhost.gpu", "dlhost.host", "dlhost.drift", "dlhost.verify")
# The API's number of the kind of history that whole numbers have, and that of texts.
NUMBERS, TEXTS = 3, 4
# What verify holds against the server, and what it cannot have skipped here.
PROVED = ("server", "encrypted", "gpus", "registered", "read_back")
OF_THE_HOST = ("certificate_days", "reboot_pending")
# What the double plays, as the server is to have it; None is no value at all.
VALUES: Mapping[str, Mapping[str, float | None]] = {
    TRAINER: {
        "utilisation": 93,
        "memory_utilisation": 41,
        "memory_total": 49140 * MIB,
        "memory_used": 47104 * MIB,
        "temperature": 71,
        "memory_temperature": None,
        "fan": 62,
        "power": 287.45,
        "power_limit": 300,
        "clock_sm": 1800e6,
        "clock_memory": 7600e6,
        "ecc_corrected": 3,
        "ecc_uncorrected": 0,
        "remap_failure": 0,
        "processes": 2,
    },
    ELDER: {
        "utilisation": 0,
        "memory_used": 3 * MIB,
        "temperature": 35,
        "memory_temperature": None,
        "fan": None,
        "power": None,
        "power_limit": None,
        "ecc_corrected": None,
        "ecc_uncorrected": None,
        "remap_failure": None,
        "processes": 0,
    },
}


@dataclass(frozen=True)
class Estate:
    """The three hosts, of one of Debian's releases, provisioned, and what their owner knows of them."""

    dlhost: Installed
    hosts: Mapping[str, Host]
    authority: Path
    password: str
    release: str

    inventory = "lab"

    @contextmanager
    def server(self, password: str = "") -> Iterator[Zabbix]:
        """The server, asked as Admin at its front."""
        address = self.hosts[SERVER].address
        access = {
            "url": f"https://{address}/zabbix/",
            "ca": self.authority.read_text(encoding="utf-8"),
            "password": password or self.password,
        }
        with zabbix(access, address) as server:
            yield server

    def run(self, code: int, *command: str) -> str:
        """What a command says about the inventory, and that it ends with this exit code."""
        done = self.dlhost.run(*command, "-i", self.inventory)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def play(self, host: str, *cards: str) -> None:
        """Let a host have these cards from now on."""
        self.hosts[host].execute(f"echo '{json.dumps({'cards': cards})}' > /etc/nvidia-smi-double.json")


@pytest.fixture(scope="module", params=["13", pytest.param("12", marks=pytest.mark.long)])
def estate(
    request: pytest.FixtureRequest,
    program: Path,
    provisioned_image: str,
    module_host: Callable[..., Host],
    tmp_path_factory: pytest.TempPathFactory,
) -> Estate:
    dlhost = Installed(program, tmp_path_factory.mktemp("owner"))
    # Of the other release the hosts begin bare.
    base = {"image": provisioned_image} if request.param == "13" else {"release": request.param}
    hosts = {name: module_host(**base) for name in (SERVER, TRAINER, ELDER)}
    directory = dlhost.begin(Estate.inventory, hosts[SERVER])
    (directory / "hosts.yml").write_text(json.dumps({"all": _declared(directory, hosts)}))
    known = [(host.directory / "known_hosts").read_text().replace(host.name, name) for name, host in hosts.items()]
    (directory / ".ssh" / "known_hosts").write_text("".join(known))
    authority = dlhost.home / "ca.crt"
    password = dlhost.run("secrets", "show", "-i", Estate.inventory, "zabbix_server_admin_password").stdout.strip()
    estate = Estate(dlhost, hosts, authority, password, request.param)
    estate.run(0, "ca", "export", str(authority))
    for name, cards in CARDS.items():
        # The host's Python comes with role system.
        hosts[name].execute(f"cat > /usr/bin/nvidia-smi <<'END'\n{DOUBLE}\nEND\nchmod 0755 /usr/bin/nvidia-smi")
        estate.play(name, *cards)
    estate.run(0, "provision", "--yes")
    with estate.server() as server:
        for name in CARDS:
            server.call("item.update", itemid=item_id(server, name, "dlhost.gpu"), delay=f"{INTERVAL_S}s")
    return estate


def _declared(directory: Path, hosts: Mapping[str, Host]) -> dict[str, Any]:
    trusting = f"-o UserKnownHostsFile={directory}/.ssh/known_hosts -o HostKeyAlias={{{{ inventory_hostname }}}}"
    return {
        "vars": {"ansible_user": USER, "ansible_ssh_common_args": trusting},
        "hosts": {
            name: {"ansible_host": host.address, "ansible_ssh_private_key_file": str(host.key_file)}
            for name, host in hosts.items()
        },
        "children": {
            "web": {"hosts": {SERVER: {}}},
            "monitoring_server": {"hosts": {SERVER: {}}},
            "monitored": {"hosts": {name: {} for name in hosts}},
        },
    }


def host_id(server: Zabbix, name: str) -> str:
    """What the server calls a host for itself."""
    (found,) = server.call("host.get", filter={"host": [name]}, output=["hostid"])
    return str(found["hostid"])


def item_id(server: Zabbix, name: str, key: str) -> str:
    """What the server calls an item of a host."""
    found = server.call("item.get", hostids=host_id(server, name), filter={"key_": [key]}, output=["itemid"])
    return str(found[0]["itemid"])


def heard(server: Zabbix, name: str, operation: str, begun: int) -> str:
    """What the server was told of a host's drift or verify since then, within a few seconds."""
    host, item = host_id(server, name), f"dlhost.{operation}.result"
    until(lambda: server.clock(host, item) >= begun, True, patience_s=10)
    found = server.items(host)[item]
    return str(found["lastvalue"]) if int(found["lastclock"]) >= begun else "nothing"


@pytest.mark.parametrize("name", CARDS)
def test_every_value_of_every_card_is_the_servers(estate: Estate, name: str) -> None:
    with estate.server() as server:
        host = host_id(server, name)
        last = f"dlhost.gpu.utilisation[{uuid_of(len(CARDS[name]) - 1)}]"
        # An agent of 6.0 asks every two minutes what it is to report.
        assert until(lambda: server.clock(host, last) > 0, True, patience_s=300)
        items = server.items(host)

    seen = {
        (number, key): float(item["lastvalue"]) if int(item["lastclock"]) else None
        for number in range(len(CARDS[name]))
        for key in VALUES[name]
        for item in [items[f"dlhost.gpu.{key}[{uuid_of(number)}]"]]
    }
    assert seen == {(number, key): value for number, key in seen for value in [VALUES[name][key]]}
    assert not [item["error"] for item in items.values() if item["error"]]


def uuid_of(number: int) -> str:
    """A card of the double's."""
    return double.cards(number + 1, {})[number]["uuid"]


def test_a_card_that_goes_is_one_alarm_until_it_is_back(estate: Estate) -> None:
    with estate.server() as server:
        host = host_id(server, TRAINER)
        assert server.problems(host) == set()

        estate.play(TRAINER, "trainer")
        gone = f"GPU 1 ({double.CARDS['trainer']['name']}): gone"
        assert until(lambda: server.problems(host), {gone}) == {gone}

        estate.play(TRAINER, *CARDS[TRAINER])
        assert until(lambda: server.problems(host), set()) == set()


def test_every_alarm_comes_alone_and_ends(estate: Estate) -> None:
    """A story of nine cards that nobody has, told to the server as an agent tells it."""
    with estate.server() as server:
        host = server.add_host("story", MACROS)
        try:
            for chapter, alarms in tell(server, "story", host):
                assert alarms == chapter.alarms, chapter.title
                assert server.discovery_errors(host) == set(), chapter.title
        finally:
            # It has no key: verify would not let it pass.
            server.call("host.delete", host)


@pytest.mark.long
def test_what_a_server_that_is_away_should_have_had_it_gets_later(estate: Estate) -> None:
    """The network is cut for a minute, in which the server is also started anew; not one reading is missing."""
    address = estate.hosts[SERVER].address
    trainer = estate.hosts[TRAINER]
    with estate.server() as server:
        host = host_id(server, TRAINER)
        begun = int(time.time())
        trainer.execute(f"ip route add blackhole {address}/32")
        estate.hosts[SERVER].execute("systemctl restart zabbix-server.service")
        time.sleep(CUT_S)
        assert server.clock(host, "dlhost.gpu.count") < begun + INTERVAL_S
        trainer.execute(f"ip route del blackhole {address}/32")
        ended = int(time.time())
        assert until(lambda: server.clock(host, "dlhost.gpu.count") > ended + INTERVAL_S, True)
        counts = item_id(server, TRAINER, "dlhost.gpu.count")
        values = server.call("history.get", itemids=counts, history=NUMBERS, time_from=begun - 30, output=["clock"])

    clocks = sorted(int(value["clock"]) for value in values)
    gaps = [later - earlier for earlier, later in itertools.pairwise(clocks)]
    # The agent counts from one reading to the next; a loaded machine may be a little late with one.
    assert max(gaps) <= 2 * INTERVAL_S - 1, clocks
    assert sum(begun <= clock <= ended for clock in clocks) >= CUT_S // INTERVAL_S - 1


@pytest.mark.long
def test_a_second_run_changes_nothing_and_the_server_hears_it(estate: Estate) -> None:
    begun = int(time.time())
    again = estate.dlhost.document("provision", "--yes", "-i", estate.inventory)
    assert [host["changed"] for host in again["hosts"]] == [0, 0, 0], again

    estate.run(0, "drift")
    verified = estate.dlhost.document("verify", "-i", estate.inventory)
    proved = {
        (host["host"], check["id"])
        for host in verified["hosts"]
        for check in host["checks"]
        if check["result"] == "pass"
    }
    assert proved.issuperset((TRAINER, f"zabbix_agent.{check}") for check in PROVED), verified

    with estate.server() as server:
        host = host_id(server, SERVER)
        assert until(lambda: server.clock(host, "dlhost.host.certificate_days") > 0, True)
        told = {key: int(server.items(host)[f"dlhost.host.{key}"]["lastvalue"]) for key in OF_THE_HOST}
        assert (told["certificate_days"] > 300, told["reboot_pending"]) == (True, 0), told
        for name in estate.hosts:
            assert heard(server, name, "drift", begun) == "in_sync"
            assert heard(server, name, "verify", begun) == "pass"
            raw = server.call("item.get", hostids=host_id(server, name), filter={"key_": [*RAW]}, output=["itemid"])
            kept = server.call("history.get", itemids=[item["itemid"] for item in raw], history=TEXTS, countOutput=True)
            assert (raw != [], int(kept)) == (True, 0)


@pytest.mark.parametrize("way", ["the server's host, which is no part of the run", "a token, from here"])
def test_what_the_server_lost_of_a_host_is_registered_again(estate: Estate, tmp_path: Path, way: str) -> None:
    arguments, token = [], ""
    with estate.server() as server:
        server.call("host.delete", host_id(server, ELDER))
        if "token" in way:
            token = new_token(server)
            arguments = ["-e", f"@{existing(estate, tmp_path, token)}"]

        said = estate.run(0, "provision", "--limit", ELDER, "--roles", "zabbix_agent", "--yes", *arguments)

        assert "Register | Keep the host registered" in said
        assert "dlhost.gpu" in server.items(host_id(server, ELDER))
    if token:
        written = [path.read_text(errors="replace") for path in estate.dlhost.runs.rglob("*") if path.is_file()]
        journals = [estate.hosts[name].execute("journalctl --boot") for name in (SERVER, ELDER)]
        assert not [text for text in (said, *written, *journals) if token in text]


def new_token(server: Zabbix) -> str:
    """One of Admin's, as the owner of a server that was there already makes it."""
    (admin,) = server.call("user.get", filter={"username": "Admin"}, output=["userid"])
    (token,) = server.call("token.create", name=f"dlhost {time.time_ns()}", userid=admin["userid"])["tokenids"]
    return str(server.call("token.generate", token)[0]["token"])


def existing(estate: Estate, directory: Path, token: str, **more: str) -> Path:
    """Variables by which the server is not the inventory's, but one that was there already."""
    address = estate.hosts[SERVER].address
    variables = {
        "zabbix_agent_server": address,
        "zabbix_agent_api_url": f"https://{address}/zabbix/",
        "zabbix_agent_api_token": token,
        "zabbix_agent_api_ca": estate.authority.read_text(encoding="utf-8"),
        **more,
    }
    (directory / "existing.json").write_text(json.dumps(variables))
    return directory / "existing.json"


FAILED, REFUSED = ExitCode.TASK_FAILED, ExitCode.REFUSED
WRONG = {
    "token": ({}, FAILED, "does not let the token in"),
    "nobody": ({"zabbix_agent_api_url": "https://127.0.0.1:1/zabbix/"}, FAILED, "does not answer (Connection refused)"),
    "not Zabbix": ({"zabbix_agent_api_url": "https://{server}/elsewhere/"}, FAILED, "is not answered by Zabbix"),
    "stranger": ({"zabbix_agent_api_ca": ""}, FAILED, "is not trusted"),
    "key": ({"zabbix_agent_psk": "correct horse"}, REFUSED, "not all of them are hexadecimal digits"),
    "server": ({"zabbix_agent_server": "zabbix.invalid"}, FAILED, "cannot resolve"),
}


@pytest.mark.parametrize(("wrong", "code", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_server_is_one_sentence(
    estate: Estate, tmp_path: Path, wrong: dict[str, str], code: ExitCode, said: str
) -> None:
    token = "0123456789abcdef" * 4
    values = {name: value.format(server=estate.hosts[SERVER].address) for name, value in wrong.items()}
    variables = existing(estate, tmp_path, token, **values)
    document = estate.dlhost.document(
        "provision", "--limit", ELDER, "--roles", "zabbix_agent", "--yes", "-e", f"@{variables}", "-i", estate.inventory
    )

    (host,) = document["hosts"]
    assert (document["exit_code"], host["changed"]) == (code, 0), document
    assert said in host["failure"]["message"]
    assert token not in json.dumps(document)


def test_where_a_template_cannot_be_imported_no_host_is_registered(estate: Estate) -> None:
    command = ("provision", "--limit", ELDER, "--roles", "zabbix_agent", "--yes", "-i", estate.inventory)
    with estate.server() as server, template_of_somebody_else(server, estate.release):
        server.call("host.delete", host_id(server, ELDER))
        document = estate.dlhost.document(*command)

        (host,) = document["hosts"]
        assert (document["exit_code"], host["changed"]) == (FAILED, 0), document
        assert re.search(
            r"The templates were not imported, and nothing was registered: .*dlhost GPU.* already exists",
            host["failure"]["message"],
        )
        assert server.call("host.get", filter={"host": [ELDER]}) == []

    # It was that alone.
    assert estate.dlhost.document(*command)["exit_code"] == 0


@contextmanager
def template_of_somebody_else(server: Zabbix, release: str) -> Iterator[None]:
    """While it lasts, a template that is not dlhost's has the name of one of dlhost's."""
    # In Zabbix 6.0, groups are of hosts and templates alike.
    kind = "hostgroup" if release == "12" else "templategroup"
    (own,) = server.call("template.get", filter={"host": ["dlhost GPU"]}, output=["templateid"])
    groups = server.call(f"{kind}.get", filter={"name": ["Templates"]}, output=["groupid"])
    server.call("template.update", templateid=own["templateid"], host="kept", name="kept")
    (other,) = server.call("template.create", host="dlhost GPU", groups=groups)["templateids"]
    try:
        yield
    finally:
        server.call("template.delete", other)
        server.call("template.update", templateid=own["templateid"], host="dlhost GPU", name="dlhost GPU")


def test_where_the_fronts_port_is_taken_it_is_named_and_nothing_changes(estate: Estate) -> None:
    hub = estate.hosts[SERVER]
    hub.execute(
        "systemctl stop nginx && systemd-run --quiet --unit=squatter python3 -m http.server 443 && "
        "until ss -Hltn sport = 443 | grep -q .; do sleep 0.1; done"
    )
    try:
        document = estate.dlhost.document("provision", "--limit", SERVER, "--yes", "-i", estate.inventory)
    finally:
        hub.execute("systemctl stop squatter && systemctl start nginx")

    (host,) = document["hosts"]
    assert (document["exit_code"], host["changed"]) == (FAILED, 0), document
    assert "Port 443 is held by" in host["failure"]["message"], document
    assert "squatter.service" in host["failure"]["message"] or "python3" in host["failure"]["message"]


def test_nobody_sends_in_a_hosts_name_without_its_key(estate: Estate) -> None:
    with estate.server() as server:
        assert server.feed(TRAINER, int(time.time()), {"dlhost.gpu": {"error": "forged"}}) == 0
        assert server.items(host_id(server, TRAINER))["dlhost.gpu.error"]["lastvalue"] == ""


def test_what_everybody_tries_first_lets_nobody_in(estate: Estate) -> None:
    document = estate.dlhost.document("verify", "--limit", SERVER, "--roles", "zabbix_server", "-i", estate.inventory)
    results = {check["id"]: check["result"] for check in document["hosts"][0]["checks"]}
    assert (results["zabbix_server.default_login"], results["zabbix_server.front"]) == ("pass", "pass")
    with pytest.raises(Exception, match="does not let user Admin with this password in"), estate.server("zabbix"):
        pass


def test_the_dashboard_of_the_cards_opens_in_a_browser(estate: Estate, tmp_path: Path) -> None:
    url = estate.run(0, "open", "zabbix", "--host", SERVER, "--print").splitlines()[-1]
    with estate.server() as server:
        host = host_id(server, TRAINER)
    with sync_playwright() as playwright, browser(playwright, tmp_path, estate.authority) as context:
        page = context.new_page()
        page.goto(url)
        page.locator("#name").fill("Admin")
        page.locator("#password").fill(estate.password)
        page.locator("#enter").click()
        page.locator(".wrapper main, main").first.wait_for()
        page.goto(f"{url}zabbix.php?action=host.dashboard.view&hostid={host}")
        page.locator(".dashboard-grid-widget").first.wait_for()
        page.wait_for_load_state("networkidle")
        picture(page, "zabbix-dashboard")
        shown = page.locator("body").inner_text()
        assert TRAINER in shown and "GPU 1: utilisation" in shown, shown
        assert page.locator(".msg-bad").count() == 0, shown
