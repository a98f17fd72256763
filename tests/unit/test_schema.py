"""Argument specs as Ansible means them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlhost.values.inventory import Connection, Host, Inventory, Location, Setting
from dlhost.values.schema import missing, problems, role_schema


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


def test_what_the_playbooks_give_a_host_need_not_have() -> None:
    options = {"web_x": {"required": True}, "web_key": {"required": True, "no_log": True}, "web_y": {}}
    document = {"argument_specs": {"main": {"short_description": "Web", "options": options}}}
    alpha = Host("alpha", ("all", "web"), Connection(), {"web_key": "secret"})
    needy, served = (role_schema("web", document, ["web"], given) for given in ([], ["web_x"]))

    assert list(missing([alpha], [needy], "rig")) == [
        "alpha lacks web_x, which role web needs. Set it in the inventory, for instance in group_vars/all."
    ]
    assert list(missing([alpha], [served], "rig")) == []


def test_a_description_may_be_several_paragraphs() -> None:
    main = {"short_description": "Web", "options": {"web_x": {"description": ["One.", "Two."]}}}

    assert role_schema("web", {"argument_specs": {"main": main}}).options["web_x"].description == "One. Two."


def test_variables_of_nobody_are_left_alone() -> None:
    settings = tuple(Setting(name, 1, Path("all.yml"), {}) for name in ("ansible_host", "webs", "my_web", "websites"))
    schema = role_schema("web", {"argument_specs": {"main": {"short_description": "Web"}}})

    assert problems(Inventory(Location("rig", Path("rig")), (), settings), [schema]) == []
