"""Trouble by chance: the same seed means the same trouble, and no damage of its own cuts SSH off."""

from __future__ import annotations

import random
from pathlib import Path

from dlhost.adapters import inventory_source
from dlhost.operations.init import write
from dlhost.operations.secrets import set_secret, show
from dlhost.values.new_inventory import GROUPS, MORE_GROUPS, NewInventory
from tools.faults import damages
from tools.faults.__main__ import EVERYWHERE
from tools.faults.parts import PARTS, groups_of, settings_of, units_of
from tools.faults.plan import KILLS, Start, Trouble, plan
from tools.faults.secret_places import secrets_of, strangers

MANIFEST = {
    "roles": {
        "ssh_hardening": {"files": ["/etc/ssh/sshd_config.d/00-dlhost.conf"], "packages": ["openssh-server", "xauth"]},
        "nginx_proxy": {
            "files": ["/etc/dlhost/nginx_proxy/index.html", "/etc/nginx/sites-available/dlhost.conf"],
            "packages": ["nginx"],
        },
    }
}


def test_a_round_is_the_same_whenever_it_is_played() -> None:
    rounds = list(plan(seed=7, numbers=range(1, 40), calls=15))
    assert rounds == list(plan(seed=7, numbers=range(1, 40), calls=15))
    assert rounds[4:6] == list(plan(seed=7, numbers=[5, 6], calls=15))
    assert rounds != list(plan(seed=8, numbers=range(1, 40), calls=15))


def test_every_trouble_comes_within_a_hundred_rounds_and_kills_most_often() -> None:
    rounds = list(plan(seed=1, numbers=range(100), calls=15))
    assert {one.trouble for one in rounds} == {*Trouble}
    assert {one.call for one in rounds} == {*range(1, 16)}
    assert sum(one.trouble in KILLS for one in rounds) > 40


def test_a_bare_host_is_always_hit() -> None:
    assert not [one for one in plan(3, range(200), 9, [Start.BARE]) if one.trouble is Trouble.NONE]


def test_only_the_chosen_troubles_come() -> None:
    assert {one.trouble for one in plan(3, range(99), 9, troubles=KILLS)} == {*KILLS}


def test_the_same_damages_are_dealt_again() -> None:
    one = next(plan(seed=7, numbers=[3], calls=15))
    possible = damages.candidates(MANIFEST, ["nginx.service"])
    assert damages.choose(one.choice(), possible) == damages.choose(one.choice(), possible)
    # However the record is ordered.
    turned = {"roles": dict(reversed(MANIFEST["roles"].items()))}
    assert damages.candidates(turned, ["nginx.service"]) == possible


def test_damages_reach_everything_that_roles_own() -> None:
    names = {damage.name for damage in damages.candidates(MANIFEST, ["nginx.service"])}
    assert {
        "file /etc/nginx/sites-available/dlhost.conf emptied",
        "folder /etc/dlhost/nginx_proxy closed to all",
        "unit nginx.service masked",
        "package nginx purged",
        "the roles' record deleted",
    } <= names
    # What the distribution owns is not the roles' to mend.
    assert not [name for name in names if name.startswith("folder /etc/nginx")]


def test_no_damage_shuts_the_only_door() -> None:
    assert not [one for one in damages.candidates(MANIFEST, []) if "openssh-server" in one.run]


def test_every_file_is_quoted() -> None:
    manifest = {"roles": {"a": {"files": ["/etc/dlhost/a b"], "packages": []}}}
    files = [one.run for one in damages.candidates(manifest, []) if one.name.startswith("file")]
    assert files and all("'/etc/dlhost/a b'" in run for run in files)


def test_chance_takes_no_damage_twice() -> None:
    possible = damages.candidates(MANIFEST, ["nginx.service"])
    for seed in range(50):
        dealt = damages.choose(random.Random(seed), possible)  # noqa: S311
        assert 1 <= len(dealt) <= 6
        assert len({damage.name for damage in dealt}) == len(dealt)


def test_rounds_of_the_record_are_dealt_again() -> None:
    one = next(plan(seed=8, numbers=[6], calls=60))
    assert str(one) == "8.6: damaged host, controller killed 2 s into call 50"
    units = units_of(["workspace", "web"])
    assert units == ["dlhost-jupyter@rig.service", "nginx.service"]
    dealt = damages.choose(one.choice(), damages.candidates(MANIFEST, [*EVERYWHERE, *units]))
    assert [damage.name for damage in dealt] == [
        "unit apt-daily.timer disabled",
        "file /etc/ssh/sshd_config.d/00-dlhost.conf cut in half",
        "file /etc/dlhost/nginx_proxy/index.html overwritten with noise",
        "unit apt-daily.timer masked",
    ]


def test_a_host_can_be_for_every_group_but_that_of_gpus() -> None:
    declared = {*MORE_GROUPS}.union(*GROUPS.values()) - {"gpu"}
    assert declared <= {*PARTS}
    assert {*groups_of(PARTS)} == declared


def test_every_unit_that_can_be_damaged_is_one_that_a_role_runs() -> None:
    roles = Path(__file__).parents[2] / "roles"
    known = {path.name.removesuffix(".j2") for path in roles.glob("*/templates/*")}
    declared = "".join(path.read_text() for path in roles.glob("*/vars/*.yml"))
    for unit in units_of(PARTS):
        assert unit.replace("@rig.", "@.") in known or unit.removesuffix(".service") in declared, unit


def test_what_a_part_sets_comes_with_it_alone() -> None:
    assert settings_of(["workspace", "web"]) == {}
    assert settings_of(["web", "idle_stop"])["idle_stop_dry_run"] is True
    assert groups_of(["monitoring_server", "web", "monitored"]) == ["web", "monitoring_server", "monitored"]


def test_every_secret_of_the_inventory_is_searched_for() -> None:
    own = {"name": "rig", "password": "a word of the owner's"}
    site = {"path": "/own/", "upstream": "http://127.0.0.1:9", "basic_auth": [own]}
    mentioned = {**site, "path": "/too/", "basic_auth": [{"name": "rig", "password": "{{ jupyter_password }}"}]}
    location = inventory_source.own_location("lab")
    begun = write(
        location, NewInventory("lab", "192.0.2.1", "rig", settings={"nginx_proxy_sites": [site, mentioned]}), []
    )
    hosts = location.path / "hosts.yml"
    hosts.write_text(f"{hosts.read_text()}    monitored: {{hosts: {{lab: }}}}\n")
    set_secret("lab", "own_token", "of no role's, but in the vault", None)
    secrets = secrets_of("lab")
    vaulted = {show("lab", name, "", None) for name in begun.secrets if name != "tls_ca_key"}
    assert len(vaulted) == 4
    told = {own["password"], "of no role's, but in the vault", begun.vault_password.read_text().strip()}
    assert vaulted | told <= secrets.texts
    # Of the authority's key every line but the frame, which all keys have.
    lines = show("lab", "tls_ca_key", "", None).splitlines()
    assert {*lines[1:-1]} <= secrets.texts
    assert not [text for text in secrets.all if "-----" in text or "{{" in text]
    # And the key that the host's agent has, which is derived.
    (key,) = secrets.keys
    assert len(bytes.fromhex(key)) >= 16 and key not in secrets.texts


def test_an_agents_key_is_at_home_with_the_agent_and_its_server() -> None:
    at_home = ["/etc/dlhost/zabbix_agent/psk", "/var/lib/postgresql/17/main/base/5/1259"]
    assert strangers([*at_home, "/etc/dlhost/zabbix_agent/psk.tmp", "/var/log/zabbix/x", "journal"]) == [
        "/etc/dlhost/zabbix_agent/psk.tmp",
        "/var/log/zabbix/x",
        "journal",
    ]
