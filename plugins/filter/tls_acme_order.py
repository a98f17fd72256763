# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what a host asks an ACME directory for, by the settings of role tls."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_acme_order
short_description: What a host asks an ACME directory for
description:
  - Of whom, for which names, with which kind of key, and who gets a copy; empty where no directory is asked.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The settings of role tls, under their names without the prefix.
    type: dict
    required: true
"""

EXAMPLES = r"""
__tls_acme_order: "{{ __tls_settings | dlhost.host.tls_acme_order }}"
"""

RETURN = r"""
_value:
  description: The argument C(order) of module acme_certificate.
  type: dict
"""


def tls_acme_order(settings: dict) -> dict:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils.tls_issuers import Settings, issuer

    return issuer(Settings(**settings)).acme_order()


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"tls_acme_order": tls_acme_order}
