"""Trouble by chance: the same seed means the same trouble, and no damage of its own cuts SSH off."""

from __future__ import annotations

import random

from tools.faults import damages
from tools.faults.plan import KILLS, Start, Trouble, plan

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
