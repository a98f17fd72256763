# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin, controller side of a host's certificate: here it is judged and signed, and no private key travels."""

from __future__ import annotations

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules import run_with_secrets_piped
from ansible_collections.dlhost.host.plugins.plugin_utils.tls_issuers import Found, Issuer, Settings, issuer
from ansible_collections.dlhost.host.plugins.plugin_utils.tls_x509 import TlsError, described, facts, public_key_of

DIRECTORY = "/etc/dlhost/tls"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("role", "settings", "packages", "files", "timer", "state", "prove"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._variables = task_vars
        # Of the settings, which hold the authority's key, the host is told no more than each phase needs.
        self._arguments = {key: value for key, value in self._task.args.items() if key not in ("settings", "prove")}
        if self._task.args.get("state") == "absent":
            return result | self._take_away()
        try:
            settings = Settings(**self._task.args["settings"])
            wanted = issuer(settings)
        except TlsError as error:
            return result | _failure(str(error))
        self._arguments["consumers"] = settings.consumers
        self._arguments["acme"] = wanted.acme_order()
        proving = boolean(self._task.args.get("prove", False))
        if wanted.expired() and not proving:
            return result | _failure(wanted.expired())

        plan = self._phase("prove", client=wanted.client()) if proving else self._phase("plan")
        if plan.get("failed"):
            return result | plan
        text, unknown_groups = plan.pop("certificate_text"), plan.pop("unknown_groups")
        found = Found(text, plan.pop("has_key"), plan["is_pair"], plan.pop("issued"))
        reasons = wanted.reasons(found)
        result |= plan
        result.update(misplaced_paths=plan["changed_paths"], reasons=reasons, certificate=facts(text, wanted.now))
        if reasons:
            result |= self._foresee(wanted, found, reasons, plan)
        if proving:
            return result
        if wanted.attention():
            result["dlhost_action_needed"] = wanted.attention()
        if unknown_groups and self._task.check_mode:
            result["dlhost_undetermined"] = f"whether this host will have {_groups(unknown_groups)} of tls_consumers"
        elif unknown_groups:
            return result | _failure(
                f"tls_consumers gives keys to {_groups(unknown_groups)}, which this host does not have; "
                "what brings it has to run first. Nothing was changed."
            )
        if self._task.check_mode or not result["changed"]:
            return result
        return result | self._install(wanted, found, reasons)

    def _take_away(self) -> dict:
        plan = self._phase("plan")
        if plan.get("failed") or not plan["changed"] or self._task.check_mode:
            return plan
        return plan | self._phase("install")

    def _foresee(self, wanted: Issuer, found: Found, reasons: list[str], plan: dict) -> dict:
        """What a new certificate changes: it says more of it than the texts of the files would."""
        keeps_key = wanted.keeps_key(found)
        names = ["cert.pem"] if keeps_key else ["key.pem", "cert.pem"]
        places = [DIRECTORY, *(f"{DIRECTORY}/{consumer['name']}" for consumer in wanted.settings.consumers)]
        paths = [f"{place}/{name}" for place in places for name in names]
        after = wanted.foreseen(found)
        words = [
            {"prepared": "".join(f"certificate: {reason}\n" for reason in reasons)},
            {
                "before_header": f"{DIRECTORY}/cert.pem",
                "after_header": f"{DIRECTORY}/cert.pem",
                "before": _lines(described(found.certificate)),
                "after": _lines(after if keeps_key else {**after, "key": f"{after['key']}, a new one"}),
            },
        ]
        others = [diff for diff in plan["diff"] if diff.get("before_header", diff.get("header")) not in paths]
        return {
            "changed": True,
            "changed_paths": [*paths, *(path for path in plan["changed_paths"] if path not in paths)],
            "diff": words + others,
        }

    def _install(self, wanted: Issuer, found: Found, reasons: list[str]) -> dict:
        order = {}
        if reasons and wanted.takes_issued(found):
            order = {"takes_issued": True}
        elif reasons:
            keeps_key = wanted.keeps_key(found)
            public_key = public_key_of(found.certificate) if keeps_key else ""
            makes_key = bool(wanted.key_type) and not keeps_key
            if makes_key:
                made = self._phase("key", key_type=wanted.key_type)
                if made.get("failed"):
                    return _failure(made["msg"])
                public_key = made["public_key"]
            order = {**wanted.order(public_key), "is_new_key": makes_key}
        installed = self._phase("install", **order)
        if installed.get("failed"):
            return _failure(installed["msg"])
        return {
            "changed": True,
            "changed_paths": installed["changed_paths"],
            "certificate": facts(installed["certificate_text"], wanted.now),
        }

    def _phase(self, phase: str, **more: object) -> dict:
        arguments = {**self._arguments, **more, "phase": phase}
        secrets = [file["path"] for file in arguments.get("files", []) if file.get("sensitive")]
        return run_with_secrets_piped(self, "dlhost.host.tls_certificate", self._variables, secrets, arguments)


def _lines(description: dict[str, str]) -> str:
    return "".join(f"{label}: {value}\n" for label, value in description.items())


def _groups(names: list[str]) -> str:
    return f"group {', '.join(names)}"


def _failure(message: str) -> dict:
    return {"failed": True, "changed": False, "msg": message}
