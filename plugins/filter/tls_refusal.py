# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why a host cannot have the certificate that the settings of role tls ask for."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_refusal
short_description: Why a host cannot have the certificate that is asked for
description:
  - Names that are none, keys and certificates that cannot be read, do not belong together or have expired. No host is
    asked.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The settings of role tls, under their names without the prefix.
    type: dict
    required: true
  expired_is_fine:
    description: Accept a certificate whose time is over, for who only looks.
    type: bool
    default: false
"""

EXAMPLES = r"""
__tls_refusal: "{{ __tls_settings | dlhost.host.tls_refusal }}"
"""

RETURN = r"""
_value:
  description: One sentence; empty where nothing speaks against it.
  type: str
"""


def tls_refusal(settings: dict, expired_is_fine: bool = False) -> str:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils.tls_issuers import Settings, issuer
    from ansible_collections.dlhost.host.plugins.plugin_utils.tls_x509 import TlsError

    try:
        wanted = issuer(Settings(**settings))
    except TlsError as error:
        return str(error)
    return "" if expired_is_fine else wanted.expired()


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"tls_refusal": tls_refusal}
