"""A host's registration: what is written to Zabbix, in which order, and what is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.tls_world import plugin
from tests.unit.zabbix_api_double import ACCESS, Json, Refused, ZabbixApiDouble, served

KEY = "ab" * 32
FILES = {"6.0": "the file for 6.0", "7.0": "the file for 7.0"}
REQUEST: Json = {
    **ACCESS,
    "host": "rig",
    "groups": ["dlhost"],
    "templates": ["dlhost GPU", "dlhost host"],
    "template_files": FILES,
    "psk_identity": "dlhost rig",
    "psk": KEY,
    "state": "present",
}
READS = ("apiinfo.version", "user.login", "user.logout", "configuration.importcompare")


class ServerDouble(ZabbixApiDouble):
    """Zabbix's own state, as far as a registration goes: hosts, one group, templates that an import brings."""

    def __init__(self, version: str = "7.0.22") -> None:
        super().__init__(version)
        self.hosts: dict[str, Json] = {}
        self.groups: dict[str, str] = {}
        self.templates: dict[str, str] = {}
        self.compared: Any = {"templates": {"added": [{"after": {"name": "dlhost GPU"}}]}}
        self.answers |= {
            "host.get": lambda asked: [self.hosts[name] for name in asked["filter"]["host"] if name in self.hosts],
            "host.create": self.create,
            "host.update": self.update,
            "host.delete": lambda ids: {"hostids": [self.hosts.pop("rig")["hostid"]]} if ids else {},
            "hostgroup.get": lambda _: [{"name": name, "groupid": number} for name, number in self.groups.items()],
            "hostgroup.create": lambda made: {"groupids": [self.groups.setdefault(made["name"], "20")]},
            "template.get": lambda asked: [
                {"host": name, "templateid": number}
                for name, number in self.templates.items()
                if name in asked["filter"]["host"]
            ],
            "configuration.importcompare": lambda _: self.compared,
            "configuration.import": self.bring,
            "usermacro.create": lambda made: self.hosts["rig"]["macros"].append({**made, "hostmacroid": "8"}),
            "usermacro.update": lambda made: self.hosts["rig"]["macros"][0].update(made),
        }

    @property
    def writes(self) -> list[str]:
        return [method for method in self.methods if not method.endswith(".get") and method not in READS]

    def bring(self, _order: Json) -> bool:
        self.templates = {"dlhost GPU": "100", "dlhost host": "101"}
        self.compared = []
        return True

    def create(self, made: Json) -> Json:
        self.hosts[made["host"]] = {
            "hostid": "7",
            "host": made["host"],
            "name": made.get("name", made["host"]),
            "tls_connect": str(made["tls_connect"]),
            "tls_accept": str(made["tls_accept"]),
            "hostgroups": made["groups"],
            "groups": made["groups"],
            "parentTemplates": made["templates"],
            "tags": made["tags"],
            "macros": [{**macro, "hostmacroid": "8"} for macro in made["macros"]],
        }
        return {"hostids": ["7"]}

    def update(self, change: Json) -> Json:
        renamed = {"templates": "parentTemplates", "groups": "hostgroups"}
        self.hosts["rig"] |= {
            renamed.get(key, key): str(value) if isinstance(value, int) else value for key, value in change.items()
        }
        return {"hostids": ["7"]}

    def params(self, method: str) -> Any:
        return next(params for asked, params in reversed(self.asked) if asked == method)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    return plugin(monkeypatch, "modules.zabbix_registration")


def converge(module: Any, server: ServerDouble, check: bool = False, **request: Any) -> Json:
    server.asked.clear()
    with served(server) as port:
        result: Json = module.converge({**REQUEST, "url": f"http://localhost:{port}/", **request}, check)
    return result


@pytest.mark.parametrize("version", ["6.0.14", "6.4.0", "7.0.22"])
def test_a_host_is_made_in_one_call_after_its_templates_and_then_left_alone(module: Any, version: str) -> None:
    server = ServerDouble(version)

    foreseen = converge(module, server, check=True)
    assert server.writes == []
    done = converge(module, server)
    assert server.writes == ["configuration.import", "hostgroup.create", "host.create"]

    assert foreseen["differences"] == done["differences"] and foreseen["changed"]
    assert KEY not in json.dumps([foreseen, done])
    made = server.params("host.create")
    assert made["tls_psk"] == KEY and made["tls_psk_identity"] == "dlhost rig" and made["tags"][0]["tag"] == "dlhost"
    assert KEY not in made["macros"][0]["value"]
    assert server.params("configuration.import")["source"] == FILES["7.0" if version == "7.0.22" else "6.0"]
    again = converge(module, server)
    assert server.writes == [] and not again["changed"] and again["diff"] == []


def test_what_others_gave_the_host_stays(module: Any) -> None:
    server = ServerDouble()
    converge(module, server)
    host = server.hosts["rig"]
    host["hostgroups"] = [{"groupid": "2"}]
    host["parentTemplates"] = [{"templateid": "55"}, {"templateid": "101"}]
    host |= {
        "name": "Rig in the cellar",
        "tags": [{"tag": "dlhost", "value": "mine"}, {"tag": "site", "value": "attic"}],
    }

    converge(module, server)

    assert server.params("host.update") == {
        "hostid": "7",
        "groups": [{"groupid": "2"}, {"groupid": "20"}],
        "templates": [{"templateid": "55"}, {"templateid": "101"}, {"templateid": "100"}],
    }


@pytest.mark.parametrize("other", [{"psk": "cd" * 32}, {"psk_identity": "another"}])
def test_another_key_is_told_from_its_fingerprint(module: Any, other: Json) -> None:
    server = ServerDouble()
    converge(module, server)

    assert converge(module, server, check=True, **other)["differences"] == ["host rig: pre-shared key is another"]
    assert server.writes == []
    converge(module, server, **other)

    assert server.writes == ["host.update", "usermacro.update"]
    assert server.params("host.update")["tls_psk"] == {**REQUEST, **other}["psk"]
    assert not converge(module, server, **other)["changed"]


def test_a_host_of_somebody_else_is_not_touched(module: Any) -> None:
    server = ServerDouble()
    converge(module, server)
    server.hosts["rig"]["tags"] = [{"tag": "owner", "value": "ops"}]
    server.compared = {"templates": {"updated": [{"before": {"name": "a"}, "after": {"name": "b"}}]}}

    with pytest.raises(module.ZabbixError, match="a host rig that is not dlhost's"):
        converge(module, server)
    assert server.writes == []
    assert not converge(module, server, state="absent")["changed"] and server.writes == []


def test_a_rejected_import_registers_nothing(module: Any) -> None:
    server = ServerDouble()
    server.answers["configuration.import"] = Refused('Invalid tag "/zabbix_export": unexpected tag.')

    with pytest.raises(module.ZabbixError, match=r"nothing was registered: .* unexpected tag"):
        converge(module, server)

    assert server.writes == ["configuration.import"]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"psk": "abc"}, "needs an identity and 32 to 512 hexadecimal digits"),
        ({"psk": "zz" * 16}, "needs an identity and 32 to 512 hexadecimal digits"),
        ({"psk_identity": ""}, "needs an identity"),
        ({"template_files": {"8.0": "x"}}, "no template file for Zabbix 7.0 or older"),
        ({"template_files": {}}, "has no template dlhost GPU: give template_files"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(module: Any, request_: Json, sentence: str) -> None:
    server = ServerDouble()

    with pytest.raises(module.ZabbixError, match=sentence):
        converge(module, server, **request_)

    assert server.writes == []


def test_a_server_that_is_not_there_is_no_failure_of_a_dry_run(module: Any) -> None:
    request = {**REQUEST, "url": "https://rig.example.org:1/", "address": "127.0.0.1"}

    assert "does not answer" in module.converge(request, True)["dlhost_undetermined"]
    with pytest.raises(module.ZabbixError, match="does not answer"):
        module.converge(request, False)


def test_an_absent_host_goes_once(module: Any) -> None:
    server = ServerDouble()
    converge(module, server)

    assert converge(module, server, check=True, state="absent")["changed"] and server.writes == []
    assert converge(module, server, state="absent")["changed"] and server.writes == ["host.delete"]
    assert not converge(module, server, state="absent")["changed"] and server.writes == []


def test_every_difference_of_a_template_has_a_sentence(module: Any) -> None:
    same = {"uuid": "1", "name": "dlhost GPU"}
    tree = {
        "templates": {
            "updated": [
                {
                    "before": same,
                    "after": same,
                    "items": {"removed": [{"before": {"name": "extra"}}], "added": [{"after": {"name": "power"}}]},
                    "triggers": {
                        "updated": [{"before": {"name": "hot"}, "after": {"name": "hot", "priority": "HIGH"}}]
                    },
                }
            ]
        }
    }

    assert module._differing(tree) == {"item extra: not of the file", "item power: not there", "trigger hot: differs"}
