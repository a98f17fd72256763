"""Which inventories there are, and what one of them says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlhost.adapters import content, inventory_source, state
from dlhost.operations.run import known_options, secret_texts
from dlhost.values.inventory import Setting
from dlhost.values.record import RunRecord, record_document
from dlhost.values.redaction import HIDDEN, redaction
from dlhost.values.schema import masked


def overview() -> list[dict[str, Any]]:
    """Every named inventory with its path and last run, as JSON types."""
    return [
        {
            "name": location.name,
            "path": str(location.path),
            "last_run": _last_run(state.records(location)),
        }
        for location in inventory_source.locations()
    ]


def show(name: str, ask: Callable[[str], str] | None) -> dict[str, Any]:
    """One inventory as JSON types, its secrets hidden."""
    location = inventory_source.find(name)
    password = inventory_source.vault_password(location, ask)
    inventory = inventory_source.load(location, password)
    schemas = content.role_schemas()
    options, hide = known_options(schemas), redaction(secret_texts(inventory, {}, schemas))

    def shown(setting: Setting) -> Any:
        # Too short to be hidden wherever it occurs, a secret is still one where it is set.
        if str(setting.value) in inventory.secrets:
            return HIDDEN
        option = options.get(setting.name)
        return hide(masked(option, setting.value) if option else setting.value)

    return {
        "schema_version": 1,
        "name": inventory.name,
        "path": str(location.path),
        "hosts": [
            {
                "name": host.name,
                "address": host.connection.address,
                "port": host.connection.port or 22,
                "user": host.connection.user or "",
                "groups": [group for group in host.groups if group != "all"],
            }
            for host in inventory.hosts
        ],
        "settings": [
            {
                "name": setting.name,
                "value": shown(setting),
                "file": str(setting.file.relative_to(location.directory)),
                "line": setting.line(),
            }
            for setting in inventory.settings
        ],
    }


def _last_run(runs: list[RunRecord]) -> dict[str, Any] | None:
    if not runs:
        return None
    document = record_document(runs[-1])
    return {key: document[key] for key in ("id", "operation", "started", "state", "exit_code")}
