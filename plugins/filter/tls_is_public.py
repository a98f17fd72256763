# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: whether a host's certificate is one that every browser trusts."""

from __future__ import annotations

from datetime import UTC, datetime

DOCUMENTATION = r"""
name: tls_is_public
short_description: Whether a certificate is one that every browser trusts
description:
  - Says so of Let's Encrypt's that has not expired, and not of what its staging directory gives. Of others nobody
    knows here.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The certificate that a host has, in PEM form; empty where there is none.
    type: str
    required: true
"""

EXAMPLES = r"""
__tls_is_public: "{{ own | dlhost.host.tls_is_public }}"
"""

RETURN = r"""
_value:
  description: Whether it is.
  type: bool
"""

# Organization in the subject of every authority that signs for Let's Encrypt; staging's is another.
PUBLIC = "Let's Encrypt"


def tls_is_public(own: str) -> bool:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils.tls_x509 import first_certificate
    from cryptography.x509.oid import NameOID

    certificate = first_certificate(own)
    if certificate is None or datetime.now(UTC) > certificate.not_valid_after_utc:
        return False
    return [name.value for name in certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [PUBLIC]


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"tls_is_public": tls_is_public}
