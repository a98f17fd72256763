# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: whom a client of a host has to trust, by the settings of role tls and the certificate that the host has."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_anchors
short_description: Whom a client of a host has to trust
description:
  - PEM certificates; empty where everybody trusts the host's anyway.
author: dlhost maintainers (@dlhost)
positional: _input, own
options:
  _input:
    description: The settings of role tls, under their names without the prefix.
    type: dict
    required: true
  own:
    description: The certificate that the host has, in PEM form; empty where nobody has looked.
    type: str
    default: ""
"""

EXAMPLES = r"""
__tls_anchors: "{{ __tls_settings | dlhost.host.tls_anchors(own) }}"
"""

RETURN = r"""
_value:
  description: Certificates in PEM form.
  type: str
"""


def tls_anchors(settings: dict, own: str = "") -> str:
    by_mode = {"self_signed": own, "local_ca": settings["ca_certificate"], "acme": settings["acme_ca"]}
    if settings["mode"] == "acme":
        # Whoever uses one filter of the collection loads all of them.
        from ansible_collections.dlhost.host.plugins.plugin_utils.tls_x509 import first_certificate, is_signed_by

        # As long as its directory has given none, the host has one of the inventory's authority.
        certificate, authority = first_certificate(own), first_certificate(settings["ca_certificate"])
        if certificate and authority and is_signed_by(certificate, authority):
            return str(settings["ca_certificate"])
    return str(by_mode.get(settings["mode"], ""))


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"tls_anchors": tls_anchors}
