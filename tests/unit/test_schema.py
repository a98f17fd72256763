"""Argument specs as Ansible means them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import content
from dlhost.values.inventory import Connection, Host, Inventory, Location, Setting
from dlhost.values.schema import missing, misspelt_groups, problems, role_schema, unknown, unrenderable
from dlhost.values.templates import Literal


def said(options: dict[str, Any], value: Any) -> list[str]:
    document = {"argument_specs": {"main": {"short_description": "Web", "options": {"web_x": options}}}}
    setting = Setting("web_x", value, Path("all.yml"), {(): 3})
    inventory = Inventory(Location("rig", Path("rig")), (), (setting,))
    return [str(problem) for problem in problems(inventory, [role_schema("web", document)])]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({}, "text"),
        ({}, 5),
        ({"type": "str"}, 1.5),
        ({"type": "float"}, 1),
        ({"type": "bool"}, False),
        ({"type": "path"}, "/etc"),
        ({"type": "raw"}, None),
        ({"type": "dict"}, {1: [2]}),
        ({"type": "list"}, [1, "a", None, {}]),
        ({"type": "list", "elements": "int"}, [1, 2]),
        ({"type": "list", "elements": "str", "choices": ["a", "b"]}, ["a", "b"]),
        ({"type": "int", "choices": [1, 2]}, 1),
        ({"type": "int"}, "{{ one }}"),
        ({"type": "list", "elements": "int"}, ["{{ one }}"]),
        ({"type": "list", "elements": "dict"}, "{{ lookup('ansible.builtin.file', 'users.json') | from_json }}"),
        ({"type": "int"}, "{% if big %}2{% else %}1{% endif %}"),
    ],
)
def test_what_fits(spec: dict[str, Any], value: Any) -> None:
    assert said(spec, value) == []


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        ({}, True, "web_x should be a text, not true"),
        ({}, None, "web_x should be a text, not empty"),
        ({"choices": ["present", "absent"]}, True, "web_x should be a text, not true; allowed: present, absent"),
        ({"type": "list", "elements": "str", "choices": ["a", "b"]}, "a", "web_x should be a list, not the text 'a'"),
        (
            {"type": "list", "elements": "str", "choices": ["a", "b"]},
            [False],
            "web_x[0] should be a text, not false; allowed: a, b",
        ),
        ({}, ["a"], "web_x should be a text, not a list"),
        ({"type": "int"}, "22", "web_x should be a whole number, not the text '22'"),
        ({"type": "int"}, True, "web_x should be a whole number, not true"),
        ({"type": "int"}, 1.5, "web_x should be a whole number, not 1.5"),
        ({"type": "bool"}, "no", "web_x should be true or false, not the text 'no'"),
        ({"type": "bool"}, 1, "web_x should be true or false, not 1"),
        ({"type": "dict"}, [], "web_x should be a mapping, not a list"),
        ({"type": "list"}, "a,b", "web_x should be a list, not the text 'a,b'"),
        ({"type": "list", "elements": "int"}, [1, "b"], "web_x[1] should be a whole number, not the text 'b'"),
        (
            {"type": "list", "elements": "str", "choices": ["a", "b"]},
            ["a", "c"],
            "web_x[1] is 'c'; allowed: a, b",
        ),
        ({"choices": ["one", "two"]}, "tow", "web_x is 'tow'; allowed: one, two; did you mean two?"),
    ],
)
def test_what_does_not(spec: dict[str, Any], value: Any, message: str) -> None:
    assert said(spec, value) == [f"all.yml:3: {message}"]


WEB = {
    "argument_specs": {
        "main": {
            "short_description": "Web",
            "options": {"web_state": {}, "web_mode": {}, "web_x": {}, "web_key": {"no_log": True}, "web_made": {}},
        }
    }
}
NEEDED: dict[str, dict[str, Any]] = {
    "web_x": {},
    "web_key": {"when": {"web_mode": "own"}},
    "web_made": {"when": {"web_mode": "ours"}, "made_by": "dlhost make"},
}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {},
            [
                "alpha lacks web_x, which role web needs. Set it in the inventory, for instance in group_vars/all.",
                "alpha lacks web_made, which role web needs where web_mode is ours. Make it: dlhost make -i rig",
            ],
        ),
        (
            {"web_x": 0, "web_mode": "own", "web_key": " "},
            [
                "alpha lacks web_key, which role web needs where web_mode is own. "
                "Set it: dlhost secrets set -i rig web_key"
            ],
        ),
        ({"web_x": "x", "web_mode": "own", "web_key": "secret"}, []),
        # Only Ansible knows what becomes of a template.
        ({"web_x": "{{ x }}", "web_mode": "{{ mode }}"}, []),
        ({"web_state": "absent"}, []),
    ],
)
def test_what_a_role_needs_is_asked_for_while_it_is_present(variables: dict[str, Any], said: list[str]) -> None:
    alpha = Host("alpha", ("all", "web"), Connection(), variables)
    other = Host("other", ("all",), Connection(), {})
    web = role_schema("web", WEB, ["web"], needed=NEEDED, defaults={"web_mode": "ours"})

    assert list(missing([alpha, other], [web], "rig")) == said


PORTAL = {"portal_password": {"no_log": True}, "portal_sites": {"type": "list", "elements": "dict"}}
UNSET = "which nothing sets"
UNREADABLE = "Ansible takes portal_password for a template, and cannot read it"
LITERALLY = "If it is meant as it stands, write !unsafe before it"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "portal_sites",
            [{"users": [{"password": "{{ wiki }}"}]}],
            f"portal_sites[0].users[0].password takes the value of wiki, {UNSET}. "
            "If that is a secret: dlhost secrets set -i rig wiki",
        ),
        (
            "portal_sites",
            [{"path": "{{ elswhere }}"}],
            f"portal_sites[0].path takes the value of elswhere, {UNSET}; did you mean elsewhere?",
        ),
        ("portal_password", "a{%bcdefghijklm", f"{UNREADABLE}. {LITERALLY}"),
        ("portal_password", "a{{", f"{UNREADABLE}. {LITERALLY}"),
    ],
)
def test_a_template_that_no_host_can_render_is_named(name: str, value: Any, message: str) -> None:
    assert unrendered(name, value) == [f"all.yml:3: {message}"]


def test_a_secret_that_is_taken_for_a_template_is_set_anew_and_not_shown() -> None:
    (said,) = unrendered("wiki", "Top{%Secretword9", secret=True)
    assert said.endswith(f"{LITERALLY}, as dlhost secrets set -i rig wiki does")
    assert "Secretword9" not in said
    (said,) = unrendered("wiki", "abc{{x}}def", secret=True)
    assert f"wiki takes the value of x, {UNSET}" in said
    assert said.endswith(f"{LITERALLY}, as dlhost secrets set -i rig wiki does")


@pytest.mark.parametrize(
    "value",
    [
        "{{ elsewhere }}",
        "{{ portal_password }}",
        "{{ of_the_host }}",
        "{{ ansible_hostname }} {{ inventory_dir }}",
        "{{ wiki | default('none') }}",
        "{{ wiki.password if wiki is defined else '' }}",
        "{% if wiki is defined %}{{ wiki }}{% endif %}",
        "{% for name in groups.all %}{{ name }}{% endfor %}",
        Literal("{{ wiki }} {% of"),
    ],
)
def test_a_template_that_a_host_may_render_is_ansibles_to_judge(value: str) -> None:
    assert unrendered("portal_sites", [value]) == []


def test_templates_of_nobody_are_left_alone() -> None:
    assert unrendered("docker_format", "{{.Names}} {% of") == []


def unrendered(name: str, value: Any, *, secret: bool = False) -> list[str]:
    document = {"argument_specs": {"main": {"short_description": "Web", "options": PORTAL}}}
    files = [Setting(name, value, Path("all.yml"), {(): 3}), Setting("elsewhere", "1", Path("all.yml"), {(): 9})]
    host = Host("alpha", (), Connection(), {"of_the_host": 1, "inventory_dir": "/"})
    secrets = frozenset({value} if secret else ())
    inventory = Inventory(Location("rig", Path("rig")), (host,), tuple(files), secrets)
    return [str(problem) for problem in unrenderable(inventory, [role_schema("portal", document)])]


def test_what_the_playbooks_give_a_host_need_not_have() -> None:
    web = role_schema("web", WEB, ["web"], ["web_x"], needed={"web_x": {}})

    assert list(missing([Host("alpha", ("web",), Connection(), {})], [web], "rig")) == []


def test_a_host_without_an_authority_is_named_before_it_is_connected_to() -> None:
    tls = next(schema for schema in content.role_schemas() if schema.role == "tls")
    bare, own = (Host(name, ("web",), Connection(), {}) for name in ("bare", "own"))
    own = replace(own, variables={"tls_mode": "self_signed"})
    public = replace(own, name="public", variables={"tls_mode": "acme", "tls_ca_certificate": "x", "tls_ca_key": "x"})

    assert list(missing([public], [tls], "rig")) == [
        "public lacks tls_acme_email, which role tls needs where tls_mode is acme. "
        "Set it in the inventory, for instance in group_vars/all."
    ]
    assert list(missing([bare, own], [tls], "rig")) == [
        f"bare lacks {name}, which role tls needs where tls_mode is local_ca or acme. Make it: dlhost ca create -i rig"
        for name in ("tls_ca_certificate", "tls_ca_key")
    ]


def test_a_description_may_be_several_paragraphs() -> None:
    main = {"short_description": "Web", "options": {"web_x": {"description": ["One.", "Two."]}}}

    assert role_schema("web", {"argument_specs": {"main": main}}).options["web_x"].description == "One. Two."


def test_variables_of_nobody_are_left_alone() -> None:
    settings = tuple(Setting(name, 1, Path("all.yml"), {}) for name in ("ansible_host", "webs", "my_web", "websites"))
    schema = role_schema("web", {"argument_specs": {"main": {"short_description": "Web"}}})

    assert problems(Inventory(Location("rig", Path("rig")), (), settings), [schema]) == []


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ((), []),
        (("all", "workspace", "lab"), []),
        (("all", "worksapce"), ["Group worksapce (rig) brings no role; did you mean workspace? "]),
        (("all", "gpus", "workspaces"), ["Group workspaces (rig) brings no role; did you mean workspace? "]),
        # A parent group of the user's own.
        (("all", "workspaces", "workspace"), []),
    ],
)
def test_a_group_that_is_called_almost_like_one_that_brings_roles(groups: tuple[str, ...], found: list[str]) -> None:
    document = {"argument_specs": {"main": {"short_description": "Web", "options": {}}}}
    schemas = [role_schema("portal", document, ["workspace"]), role_schema("system", document, ["all"])]

    told = list(misspelt_groups([Host("rig", groups, Connection())], schemas))

    assert [f"{sentence.partition('? ')[0]}? " for sentence in told] == found


def test_no_variable_of_ansibles_own_is_called_misspelt() -> None:
    program = Path(sys.executable).with_name("ansible-doc")
    asked = (["become", "sudo", "su", "runas"], ["connection", "ssh"])
    told = [
        subprocess.run([program, "--json", "--type", *words], capture_output=True, text=True, check=True).stdout
        for words in asked
    ]
    plugins = [plugin for text in told for plugin in json.loads(text).values()]
    options = [option for plugin in plugins for option in plugin["doc"]["options"].values()]
    names = {variable["name"] for option in options for variable in option.get("vars", ())}

    assert len(names) > 40
    assert [name for name in (*names, "ansible_hostname", "ansible_user_dir") if unknown(name, [])] == []
    assert unknown("ansible_hots", []) == "Ansible has no variable ansible_hots; did you mean ansible_host?"
