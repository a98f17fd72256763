# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: one host in Zabbix, with the templates that read what it reports."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zabbix_registration
short_description: Keep one host registered with a Zabbix server
description:
  - Imports the templates where the server's own comparison says that they differ from the file, and makes the host with
    its group, templates, tags and pre-shared key in one call. A second run writes nothing.
  - Touches only what is dlhost's. A host of this name without the tag C(dlhost) is refused, and is not removed; of one
    that has it, the visible name and groups, templates, tags and macros that somebody else added stay. Of the templates
    in the file everything is as in the file, so that what was changed or added in them by hand is undone.
  - The API tells neither a pre-shared key nor its identity. Whether the server has the right ones is told from a
    fingerprint in the host's macro C({$DLHOST.PSK.FINGERPRINT}), an HMAC by the key of host and identity. A key that
    was changed in the frontend by hand goes unnoticed here, and shows in that no values arrive.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.zabbix_api
options:
  host:
    description: The host's technical name, by which its agent calls itself.
    type: str
    required: true
  groups:
    description: Host groups that it is in; made where they are missing.
    type: list
    elements: str
    default: [dlhost]
  templates:
    description: Names of templates that it is linked to. Zabbix takes V(dlhost GPU) only together with V(dlhost host).
    type: list
    elements: str
    default: [dlhost GPU, dlhost host]
  template_files:
    description:
      - The export that defines the templates, as YAML, by the version of Zabbix from which on it holds (V("6.0")). The
        newest that is not newer than the server counts. Left out, the templates have to be there.
    type: dict
    default: {}
  psk_identity:
    description: The name of the host's pre-shared key.
    type: str
    default: ""
  psk:
    description: The key, 32 to 512 hexadecimal digits. Required for a host that is to be present.
    type: str
    default: ""
  state:
    description:
      - With V(absent), the host goes, and with it the values of it that the server has. Templates and groups stay.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would change and calls nothing that writes. A server that does not answer is no failure then.
  diff_mode:
    support: full
    description: One line for each thing that is not as wanted, without any secret.
"""

EXAMPLES = r"""
- name: Register the host with the server on the same network
  dlhost.host.zabbix_registration:
    url: https://zabbix.example.org/zabbix/
    token: "{{ zabbix_agent_api_token }}"
    host: rig
    psk_identity: dlhost rig
    psk: "{{ psk }}"
    template_files:
      "6.0": "{{ lookup('ansible.builtin.file', '6.0/dlhost.yaml') }}"
      "7.0": "{{ lookup('ansible.builtin.file', '7.0/dlhost.yaml') }}"
  delegate_to: localhost
  throttle: 1
"""

RETURN = r"""
version:
  description: The server's version, such as V(7.0); empty where it did not answer a dry run.
  type: str
  returned: always
differences:
  description: What was, or would be, changed, one sentence each.
  type: list
  elements: str
  returned: always
"""

import hashlib
import hmac
import json
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils.zabbix_api import (
    ACCESS_ARGUMENTS,
    UnreachableError,
    ZabbixApi,
    ZabbixError,
    dotted,
    session,
)

OWN_TAG = "dlhost"
FINGERPRINT = "{$DLHOST.PSK.FINGERPRINT}"
PSK = re.compile(r"(?:[0-9A-Fa-f]{2}){16,256}")
# Values of the host object's tls_connect and tls_accept.
TLS_PSK = 2
# Since Zabbix 6.2 templates have groups of their own.
TEMPLATE_GROUPS_SINCE = (6, 2)


def main() -> None:
    names = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            **ACCESS_ARGUMENTS,
            "host": {"type": "str", "required": True},
            "groups": {**names, "default": ["dlhost"]},
            "templates": {**names, "default": ["dlhost GPU", "dlhost host"]},
            "template_files": {"type": "dict", "default": {}},
            "psk_identity": {"type": "str", "default": ""},
            "psk": {"type": "str", "default": "", "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = converge(module.params, module.check_mode)
    except ZabbixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def converge(request: dict[str, Any], check: bool) -> dict[str, Any]:
    """Make the server know the host, or no longer; returns the module's result.

    Raises:
        ZabbixError: It cannot; the host is as it was.
    """
    present = request["state"] == "present"
    if present and not (PSK.fullmatch(request["psk"]) and request["psk_identity"]):
        raise ZabbixError(
            f"The pre-shared key of {request['host']} needs an identity and 32 to 512 hexadecimal digits, in pairs."
        )
    try:
        with session(request) as api:
            differences = _register(api, request, check) if present else _remove(api, request["host"], check)
            return _result(differences, dotted(api.version))
    except UnreachableError as error:
        if not check:
            raise
        # A dry run comes before the server that the same run would bring.
        said = str(error).rstrip(".")
        return {**_result([], ""), "dlhost_undetermined": f"whether {request['host']} is registered: {said}"}


def _register(api: ZabbixApi, request: dict[str, Any], check: bool) -> list[str]:
    found = _find(api, request["host"])
    if found and not _is_own(found):
        raise ZabbixError(
            f"Zabbix has a host {request['host']} that is not dlhost's: give that host the tag {OWN_TAG} to hand it "
            "over, or this one another name."
        )
    differences = _bring_templates(api, request["template_files"], check)
    templates = _identifiers(api, "template", request["templates"])
    missing = [name for name in request["templates"] if name not in templates]
    if missing and not (check and differences):
        raise ZabbixError(f"{request['url']} has no template {missing[0]}: give template_files, or import it first.")
    groups = _identifiers(api, "hostgroup", request["groups"])
    for name in request["groups"]:
        if name not in groups:
            differences.append(f"host group {name}: not there")
            if not check:
                groups[name] = api.call("hostgroup.create", {"name": name})["groupids"][0]
    wanted = {
        "tls_connect": TLS_PSK,
        "tls_accept": TLS_PSK,
        "tls_psk_identity": request["psk_identity"],
        "tls_psk": request["psk"],
    }
    sets = {
        "groups": [{"groupid": groups[name]} for name in request["groups"] if name in groups],
        "templates": [{"templateid": templates[name]} for name in request["templates"] if name in templates],
    }
    fingerprint = {
        "macro": FINGERPRINT,
        "value": _fingerprint(request),
        "description": "Tells dlhost which key this is.",
    }
    if not found:
        differences.append(f"host {request['host']}: not registered")
        if not check:
            own = {"tags": [{"tag": OWN_TAG, "value": ""}], "macros": [fingerprint]}
            api.call("host.create", {"host": request["host"], **wanted, **sets, **own})
        return differences
    return differences + _update(api, found, wanted, sets, fingerprint, check)


def _update(
    api: ZabbixApi,
    found: dict[str, Any],
    wanted: dict[str, Any],
    sets: dict[str, list[dict[str, str]]],
    fingerprint: dict[str, str],
    check: bool,
) -> list[str]:
    """Change what differs in one call, or, of an equal host, nothing."""
    host = found["host"]
    macro = next((macro for macro in found["macros"] if macro["macro"] == FINGERPRINT), None)
    other_key = not macro or macro.get("value") != fingerprint["value"]
    differences = [f"host {host}: pre-shared key is another"] if other_key else []
    differing = [key for key in ("tls_connect", "tls_accept") if found[key] != str(wanted[key])]
    differences += [f"host {host}: {key} is {found[key]}" for key in differing]
    # The API takes the kind of encryption, identity and key only together.
    change: dict[str, Any] = wanted if other_key or differing else {}
    present = {"groups": found["groups"], "templates": found["parentTemplates"]}
    for key, elements in sets.items():
        has = [
            {name: element[name] for name in ("groupid", "templateid") if name in element} for element in present[key]
        ]
        lacking = [element for element in elements if element not in has]
        if lacking:
            change = {**change, key: has + lacking}
            differences.append(f"host {host}: {key} lack {len(lacking)} of {len(elements)}")
    if change and not check:
        api.call("host.update", {"hostid": found["hostid"], **change})
    # After the key: a run that is cut between the two finds the fingerprint wrong and does both again.
    if other_key and not check and macro:
        api.call("usermacro.update", {"hostmacroid": macro["hostmacroid"], "value": fingerprint["value"]})
    elif other_key and not check:
        api.call("usermacro.create", {"hostid": found["hostid"], **fingerprint})
    return differences


def _remove(api: ZabbixApi, name: str, check: bool) -> list[str]:
    found = _find(api, name)
    # Somebody else's was never registered here.
    if not found or not _is_own(found):
        return []
    if not check:
        api.call("host.delete", [found["hostid"]])
    return [f"host {name}: registered"]


def _is_own(host: dict[str, Any]) -> bool:
    return any(tag["tag"] == OWN_TAG for tag in host["tags"])


def _find(api: ZabbixApi, name: str) -> dict[str, Any] | None:
    """The host of this name, whosever it is; none where there is none."""
    groups = "selectHostGroups" if api.version >= TEMPLATE_GROUPS_SINCE else "selectGroups"
    asked = {
        "filter": {"host": [name]},
        "output": ["hostid", "host", "tls_connect", "tls_accept"],
        groups: ["groupid"],
        "selectParentTemplates": ["templateid"],
        "selectTags": ["tag", "value"],
        "selectMacros": ["hostmacroid", "macro", "value"],
    }
    for host in api.call("host.get", asked):
        return {**host, "groups": host.get("hostgroups", host.get("groups"))}
    return None


def _bring_templates(api: ZabbixApi, files: dict[str, str], check: bool) -> list[str]:
    """Import the file for this server where its own comparison finds a difference; returns what differed."""
    fitting = {version: text for version, text in files.items() if _numbers(version) <= api.version}
    if not files:
        return []
    if not fitting:
        raise ZabbixError(f"There is no template file for Zabbix {dotted(api.version)} or older.")
    text = fitting[max(fitting, key=_numbers)]
    order = {"format": "yaml", "source": text, "rules": _rules(api.version)}
    try:
        # An empty comparison is a list in PHP.
        differences = sorted(_differing(api.call("configuration.importcompare", order) or {}))
        if differences and not check:
            api.call("configuration.import", order)
    except ZabbixError as error:
        raise ZabbixError(f"The templates were not imported, and nothing was registered: {error}") from None
    return differences


def _rules(version: tuple[int, int]) -> dict[str, dict[str, bool]]:
    """What an import may do: all that makes our templates equal to the file, and nothing beside them."""
    keep = {"createMissing": True, "updateExisting": True}
    whole = {**keep, "deleteMissing": True}
    rules = {
        "templates": keep,
        "valueMaps": whole,
        "items": whole,
        "discoveryRules": whole,
        "triggers": whole,
        "graphs": whole,
        "templateDashboards": whole,
        "httptests": whole,
        "templateLinkage": {"createMissing": True, "deleteMissing": True},
    }
    groups = ("template_groups", "host_groups") if version >= TEMPLATE_GROUPS_SINCE else ("groups",)
    return {**rules, **{group: {"createMissing": True} for group in groups}}


def _differing(found: dict[str, Any]) -> set[str]:
    """Sentences for what an import would add, update and remove, at any depth of the comparison's tree."""
    words = {"added": "not there", "removed": "not of the file", "updated": "differs"}
    sentences: set[str] = set()
    for kind, ways in found.items():
        for way, entries in ways.items():
            for entry in entries:
                before, after = entry.get("before", {}), entry.get("after", {})
                inner = _differing({key: entry[key] for key in entry.keys() - {"before", "after"}})
                shown = before or after
                if before != after:
                    name = shown.get("name") or shown.get("template") or shown.get("uuid", "")
                    sentences.add(f"{kind.rstrip('s').replace('_', ' ')} {name}: {words[way]}")
                sentences |= inner
    return sentences


def _identifiers(api: ZabbixApi, kind: str, names: list[str]) -> dict[str, str]:
    key = {"template": "host", "hostgroup": "name"}[kind]
    identifier = {"template": "templateid", "hostgroup": "groupid"}[kind]
    found = api.call(f"{kind}.get", {"filter": {key: names}, "output": [identifier, key]})
    return {entry[key]: entry[identifier] for entry in found}


def _fingerprint(request: dict[str, Any]) -> str:
    """Whoever does not have the key can neither make nor undo it, so that it may be read by who may see the host."""
    key = bytes.fromhex(request["psk"])
    return hmac.new(key, json.dumps([request["host"], request["psk_identity"]]).encode(), hashlib.sha256).hexdigest()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _result(differences: list[str], version: str) -> dict[str, Any]:
    return {
        "changed": bool(differences),
        "version": version,
        "differences": differences,
        "diff": [{"prepared": f"{line}\n"} for line in differences],
    }


if __name__ == "__main__":
    main()
