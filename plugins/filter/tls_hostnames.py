# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the names under which browsers take a host's certificate, by the settings of role tls."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_hostnames
short_description: The names under which browsers take a host's certificate
description:
  - Those of the certificate, without wildcards. Of one that is yours, first those that you name and that it covers.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The settings of role tls, under their names without the prefix.
    type: dict
    required: true
"""

EXAMPLES = r"""
tls_hostnames: "{{ __tls_settings | dlhost.host.tls_hostnames }}"
"""

RETURN = r"""
_value:
  description: Names and addresses; as they stand in the settings where no certificate can come of these.
  type: list
  elements: str
"""


def tls_hostnames(settings: dict) -> list[str]:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils.tls_issuers import Settings, issuer
    from ansible_collections.dlhost.host.plugins.plugin_utils.tls_x509 import TlsError

    try:
        return issuer(Settings(**settings)).hostnames()
    except (TlsError, KeyError, TypeError):
        # Ansible asks for this while it validates the settings; it, or then the role, says what is wrong.
        return list(settings["names"] or [])


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"tls_hostnames": tls_hostnames}
