"""What versions of pip really said, as the sentence that the user gets."""

from __future__ import annotations

import pytest

from plugins.module_utils.python_environment_trouble import UnreachableError, explain

NOT_FOUND = "ERROR: No matching distribution found for alpha==1.0\n"
KEPT = "The environment is as it was, and what was fetched is kept; run again when it does."
POOL = (
    "HTTPSConnectionPool(host='index.example', port=443): Max retries exceeded with url: /files/alpha.whl (Caused by "
)


def page(reason: str) -> tuple[str, str]:
    """What was said and logged where the page of alpha could not be read."""
    others = "2026-11-21T04:10:20,603 Could not fetch URL https://index.example/simple/alphabet/: 500 - skipping\n"
    return (
        NOT_FOUND,
        f"{others}{others[:24]}Could not fetch URL https://index.example/simple/alpha/: {reason} - skipping\n",
    )


@pytest.mark.parametrize(
    ("said", "log", "sentence"),
    [
        pytest.param(
            *page(
                f"connection error: {POOL}NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object "
                "at 0x7f0f>: Failed to establish a new connection: [Errno -2] Name or service not known'))"
            ),
            f"The package index does not answer (Name or service not known). {KEPT}",
            id="no such host, 22.0",
        ),
        pytest.param(
            *page("connection error: [Errno 111] Connection refused"),
            f"The package index does not answer (Connection refused). {KEPT}",
            id="refused, 26.3",
        ),
        pytest.param(
            *page("403 Client Error: Forbidden for url: https://index.example/simple/alpha/"),
            f"The package index does not answer (403 Client Error: Forbidden). {KEPT}",
            id="forbidden page",
        ),
        pytest.param(
            *page(
                f"connection error: {POOL}ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: "
                "407 Proxy Authentication Required')))"
            ),
            f"The package index does not answer through the proxy (407 Proxy Authentication Required). {KEPT}",
            id="proxy wants a password",
        ),
        pytest.param(
            *page(
                f"There was a problem confirming the ssl certificate: {POOL}SSLError(SSLCertVerificationError(1, "
                "'[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate "
                "chain (_ssl.c:992)')))"
            ),
            "The host does not trust the certificate of the package index (self-signed certificate in certificate "
            "chain). The environment is as it was; make the host trust its authority and run again.",
            id="untrusted",
        ),
        pytest.param(
            *page("404 Client Error: Not Found for url: https://index.example/simple/alpha/"),
            "The package index has no file of alpha==1.0 that the lock allows and this Python takes. "
            "The environment is as it was; correct the lock or name another index.",
            id="no such page",
        ),
        pytest.param(
            f'ERROR: Could not install packages due to an OSError: {POOL}ReadTimeoutError("HTTPSConnectionPool(host='
            "'index.example', port=443): Read timed out. (read timeout=15.0)\"))\n",
            "",
            f"The package index does not answer (Read timed out). {KEPT}",
            id="silent, 25.1",
        ),
        pytest.param(
            "error: connection-timeout\n\n\u00d7 Unable to fetch https://index.example/files/alpha.whl\n"
            "\u2570\u2500> index.example didn't respond within 15.0 seconds\n\nhint: This is probably temporary.\n",
            "",
            f"The package index does not answer (index.example didn't respond within 15.0 seconds). {KEPT}",
            id="silent, 26.3",
        ),
        pytest.param(
            "error: incomplete-download\n\n\u00d7 Download failed because not enough bytes were received (3/6 kB)\n"
            "\u2570\u2500> URL: https://index.example/files/alpha.whl\n",
            "",
            "The package index does not answer (Download failed because not enough bytes were received (3/6 kB)). "
            f"{KEPT}",
            id="broken off, 25.1",
        ),
        pytest.param(
            "ERROR: Could not install requirement alpha==1.0 from https://index.example/files/alpha.whl because of "
            "HTTP error 401 Client Error: Unauthorized for url: https://index.example/files/alpha.whl\n",
            "",
            f"The package index does not answer (HTTP error 401 Client Error: Unauthorized). {KEPT}",
            id="forbidden file",
        ),
        pytest.param(
            "WARNING: The repository located at index.example is not a trusted or secure host and is being ignored.\n"
            + NOT_FOUND,
            "",
            "pip leaves the index at index.example out, which is neither encrypted nor trusted. "
            "The environment is as it was; give its https address, or name the host in trusted_host.",
            id="plain http",
        ),
        pytest.param(
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
            "",
            "The disk is full. The environment is as it was; make room and run again.",
            id="disk full",
        ),
        pytest.param(
            "Traceback\n  something else\n",
            "",
            "The environment cannot be made: Traceback something else",
            id="anything else",
        ),
    ],
)
def test_trouble_is_a_sentence(said: str, log: str, sentence: str) -> None:
    trouble = explain(said, log)

    assert str(trouble) == sentence
    # Only what is told to be kept is kept.
    assert isinstance(trouble, UnreachableError) == (
        "package index does not answer" in sentence or "trust the" in sentence
    )
