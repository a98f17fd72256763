# SPDX-License-Identifier: GPL-3.0-or-later
"""Zabbix's API (JSON-RPC 2.0) on the standard library alone, for a controller and for a host.

Zabbix 6.0 and later. What goes wrong is one sentence, in which neither token, password nor key has a place.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.dlhost.host.plugins.module_utils.nginx_front import trusting

CONNECT_S = 60
# What role zabbix_server gives a page of the frontend: a small server that imports and discovers takes its time.
ANSWER_S = 300
OLDEST = (6, 0)
# From here on the token is a header; 7.2 and later refuse it in the body.
BEARER_SINCE = (6, 4)
FIRST_PORT_OF_ANYBODY = 1024
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Where an API is and who asks there: the argument_spec of every module that asks.
ACCESS_ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "ca": {"type": "str", "default": ""},
    "address": {"type": "str", "default": ""},
    "token": {"type": "str", "default": "", "no_log": True},
    "user": {"type": "str", "default": "Admin"},
    "password": {"type": "str", "default": "", "no_log": True},
}
# The server's words for who may not in, in all versions; see CApiService, CUser and CAuthenticationHelper.
NOT_LET_IN = re.compile(
    r"not authori[sz]ed|re-login|incorrect user name|login name|api token|cannot log in|blocked", re.IGNORECASE
)
DATABASE = re.compile(r"database|DB error|SQL", re.IGNORECASE)


class ZabbixError(Exception):
    """One sentence: what the API did instead."""


class UnreachableError(ZabbixError):
    """Nobody there speaks Zabbix's API: not yet, not now, or not at this URL."""


@contextlib.contextmanager
def session(access: dict[str, Any]) -> Iterator[ZabbixApi]:
    """A session with the API of one frontend, by the values of ACCESS_ARGUMENTS; a login of its own ends with it.

    Raises:
        ZabbixError: There is none.
    """
    api = ZabbixApi(access)
    try:
        api.open()
        yield api
    finally:
        api.close()


class ZabbixApi:
    """Calls of the API of one frontend."""

    def __init__(self, access: dict[str, Any]) -> None:
        self._url = access["url"].rstrip("/") + "/"
        self._access = access
        self._auth = access["token"]
        self._connection: http.client.HTTPConnection | None = None
        self._calls = 0
        self.version: tuple[int, int] = (0, 0)

    def open(self) -> None:
        """Ask who is there, and log in where there is no token.

        Raises:
            ZabbixError: It is no Zabbix, too old, or does not let the user in.
        """
        self._connection = self._connect()
        said = self._ask("apiinfo.version", {}, open_to_all=True)
        numbers = re.match(r"(\d+)\.(\d+)", str(said))
        if not numbers:
            raise UnreachableError(f"{self._url} is not answered by Zabbix.")
        self.version = (int(numbers[1]), int(numbers[2]))
        if self.version < OLDEST:
            raise ZabbixError(
                f"{self._url} is Zabbix {said}, and dlhost works with {dotted(OLDEST)} and later: upgrade that server."
            )
        if not self._auth:
            if not self._access["password"]:
                raise ZabbixError(f"To ask {self._url} takes a token, or a user and a password.")
            login = {"username": self._access["user"], "password": self._access["password"]}
            self._auth = self._ask("user.login", login, open_to_all=True)

    def close(self) -> None:
        """Log out where this logged in: every login leaves a row behind that ends only after days."""
        if self._connection is None:
            return
        # What was to be done is done by now, or has its own sentence.
        with contextlib.suppress(ZabbixError):
            if self._auth and not self._access["token"]:
                self._ask("user.logout", [])
        self._connection.close()

    def call(self, method: str, params: Any) -> Any:
        """The API's result.

        Raises:
            ZabbixError: There is none.
        """
        return self._ask(method, params)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._url)
        name = parts.hostname or ""
        if parts.scheme == "https" and name:
            try:
                context = trusting(self._access["ca"])
            except ssl.SSLError:
                raise ZabbixError(f"The certificates to trust for {self._url} are no PEM certificates.") from None
            port = parts.port or http.client.HTTPS_PORT
            if self._access["address"] in LOOPBACK and port < FIRST_PORT_OF_ANYBODY and not self._access["ca"]:
                # Who listens there is this host's own root; plain HTTP would do.
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return _Connection(name, port, self._access["address"] or name, context)
        if parts.scheme == "http" and name in LOOPBACK:
            return http.client.HTTPConnection(self._access["address"] or name, parts.port or 80, timeout=ANSWER_S)
        raise ZabbixError(
            f"{self._url} is no address of an API that a secret can be sent to: let it begin with https:// and a name."
        )

    def _ask(self, method: str, params: Any, open_to_all: bool = False) -> Any:
        self._calls += 1
        request: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params, "id": self._calls}
        headers = {"Content-Type": "application/json-rpc", "Host": urlsplit(self._url).netloc}
        if not open_to_all and self.version >= BEARER_SINCE:
            headers["Authorization"] = f"Bearer {self._auth}"
        elif not open_to_all:
            request["auth"] = self._auth
        answer = self._exchange(json.dumps(request).encode(), headers)
        if "error" in answer:
            raise self._refusal(method, answer["error"])
        return answer["result"]

    def _exchange(self, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        assert self._connection is not None
        try:
            self._connection.request("POST", f"{urlsplit(self._url).path}api_jsonrpc.php", body, headers)
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except ssl.SSLCertVerificationError as error:
            raise ZabbixError(
                f"The certificate of {self._url} is not trusted ({error.verify_message}): name the authority that "
                "signed it."
            ) from None
        except socket.gaierror:
            raise UnreachableError(f"The name in {self._url} does not resolve.") from None
        except (OSError, http.client.HTTPException) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(f"{self._url} does not answer ({said}).") from None
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
            raise UnreachableError(f"{self._url} is not answered by Zabbix (HTTP {response.status}).")
        return answer

    def _refusal(self, method: str, error: dict[str, Any]) -> ZabbixError:
        said = " ".join(str(error.get("data") or error.get("message")).split())
        for secret in (self._auth, self._access["password"]):
            said = said.replace(secret, "...") if secret else said
        if NOT_LET_IN.search(said):
            who = "the token" if self._access["token"] else f"user {self._access['user']} with this password"
            return ZabbixError(f"{self._url} does not let {who} in: {said}")
        if DATABASE.search(said):
            return ZabbixError(f"{self._url} has no database to answer from: {said}")
        return ZabbixError(f"{self._url} refuses {method}: {said}")


class _Connection(http.client.HTTPSConnection):
    """One that is opened to an address and still asks for the URL's name."""

    def __init__(self, name: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=CONNECT_S, context=context)
        self._address = address
        self._trust = context

    def connect(self) -> None:
        stream = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._trust.wrap_socket(stream, server_hostname=self.host)
        self.sock.settimeout(ANSWER_S)


def dotted(version: tuple[int, int]) -> str:
    """A version as it is written."""
    return ".".join(map(str, version))
