"""What a client sees at an HTTPS front. Runs on the controller, and on a host that the controller cannot reach."""

from __future__ import annotations

import _ssl
import base64
import contextlib
import dataclasses
import socket
import ssl
import time
import warnings
from collections.abc import Iterable

TIMEOUT_S = 10
LONGEST_REPLY = 1 << 16
TOPICS = ("chain", "names", "old_tls", "paths", "passwords", "headers", "redirect")
HEADERS = ("x-content-type-options", "referrer-policy", "x-frame-options")
# What nginx says where nobody answers behind it.
UNANSWERED = (502, 504)
# Where it lets nobody in from here, or nobody without a password, it says so itself, on its own page.
DENIED, ASKED = 403, 401
OWN_PAGE = "<center>nginx"
# The argument_spec of https_probe, where it looks from the controller and where it does from the host.
LOOK_ARGUMENTS = {
    "names": {"type": "list", "elements": "str", "required": True},
    "sites": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "default": ""},
            "path": {"type": "str", "required": True},
            "user": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
        },
    },
    "authority": {"type": "str", "default": ""},
    "redirects": {"type": "bool", "default": True},
}
# X509_V_ERR_* of OpenSSL's x509_vfy.h.
SELF_SIGNED = 18
WRONG_NAME = (62, 64)


@dataclasses.dataclass(frozen=True)
class Answer:
    """One HTTP response with its headers' names in lower case, and the certificates (DER, the server's own first)."""

    status: int
    headers: dict[str, str]
    body: str
    chain: tuple[bytes, ...] = ()

    def is_nginxs(self, status: int) -> bool:
        """Whether nginx itself answers with the status, not what is behind it."""
        return self.status == status and OWN_PAGE in self.body


@dataclasses.dataclass
class Seen:
    """Topic to a sentence: what is not as it should be, and why something could not be asked."""

    problems: dict[str, str] = dataclasses.field(default_factory=dict)
    unasked: dict[str, str] = dataclasses.field(default_factory=dict)

    def judge(self, topic: str, problems: Iterable[str]) -> None:
        """Keep what was found of a topic; empty sentences are no problem."""
        sentence = "; ".join(filter(None, problems))
        if sentence:
            self.problems[topic] = sentence


def trusting_anyone() -> ssl.SSLContext:
    """The client's side of a handshake with whatever certificate there is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def trusting(authority: str) -> ssl.SSLContext:
    """One that trusts the PEM certificates given and nothing else; without any, what this machine trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        context.load_verify_locations(cadata=authority)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def ask(address: str, name: str, path: str, context: ssl.SSLContext | None, port: int = 443, login: str = "") -> Answer:
    """GET a path of the server called `name` at an address; without a context by plain HTTP.

    A `login` is a user's name, a colon and the password.

    HTTP/1.0 by hand: importing http.client takes longer than the rest of a look.

    Raises:
        OSError: Nobody answers there, or not as asked; ssl.SSLError is one.
    """
    host = f"[{name}]" if ":" in name else name
    with contextlib.ExitStack() as opened:
        stream = opened.enter_context(socket.create_connection((address, port), TIMEOUT_S))
        chain: tuple[bytes, ...] = ()
        if context:
            stream = opened.enter_context(context.wrap_socket(stream, server_hostname=name))
            # A public method of SSLSocket from Python 3.13 on; the object behind it has had it since 3.10.
            chain = tuple(entry.public_bytes(_ssl.ENCODING_DER) for entry in stream._sslobj.get_unverified_chain())
        known = f"Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n" if login else ""
        stream.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n{known}\r\n".encode())
        reply = _beginning(stream)
    head, _blank, body = reply.decode(errors="replace").partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    if not status.startswith("HTTP/1."):
        raise OSError("no HTTP is spoken there")
    headers = {name.lower(): value.strip() for name, _colon, value in (field.partition(":") for field in fields)}
    return Answer(int(status.split()[1]), headers, body, chain)


def _beginning(stream: socket.socket) -> bytes:
    """As much of an answer as anybody here reads: behind a front there may be one that never ends."""
    reply = b""
    deadline = time.monotonic() + TIMEOUT_S
    while len(reply) < LONGEST_REPLY and time.monotonic() < deadline:
        try:
            part = stream.recv(LONGEST_REPLY)
        except TimeoutError:
            if not reply:
                raise
            break
        if not part:
            break
        reply += part
    return reply


def look(
    address: str,
    names: list[str],
    sites: list[dict],
    authority: str,
    redirects: bool,
    ports: tuple[int, int] = (443, 80),
) -> Seen:
    """Look at the front of an address as a browser would, by every name and site; `ports` are HTTPS and HTTP.

    A site has a path, a name where it is not the first of `names`, and somebody's user and password where it asks.
    """
    secure, plain = ports
    seen = Seen()
    try:
        first = ask(address, names[0], "/", trusting_anyone(), secure)
    except OSError as error:
        seen.problems["reachable"] = f"{address} port {secure}: {error}"
        seen.unasked = dict.fromkeys(TOPICS, "the front does not answer at all")
        return seen
    context = trusting(authority)
    if not authority and _refusal(address, names[0], context, secure)[0] == SELF_SIGNED:
        seen.unasked["chain"] = "the certificate is signed by itself, so that nobody else vouches for it"
        context = trusting(ssl.DER_cert_to_PEM_cert(first.chain[0]))
    refusals = {name: _refusal(address, name, context, secure) for name in names}
    seen.judge("chain", (f"{name}: {why}" for name, (code, why) in refusals.items() if code not in WRONG_NAME and why))
    seen.judge("names", (f"{name}: {why}" for name, (code, why) in refusals.items() if code in WRONG_NAME))
    if "chain" in seen.problems:
        seen.unasked["names"] = "not known, since the certificate is not trusted"
    _look_at_old_tls(seen, address, names[0], secure)
    _look_behind(seen, address, names[0], sites, secure)
    seen.judge("headers", (f"{header} is missing" for header in HEADERS if header not in first.headers))
    if redirects:
        seen.judge("redirect", (_redirect_problem(address, name, plain) for name in names))
    else:
        seen.unasked["redirect"] = "nginx_proxy_http_redirect is false"
    return seen


def _refusal(address: str, name: str, context: ssl.SSLContext, port: int) -> tuple[int, str]:
    """Why a client would not go on: OpenSSL's code and words, 0 and nothing where it would."""
    try:
        with (
            socket.create_connection((address, port), TIMEOUT_S) as stream,
            context.wrap_socket(stream, server_hostname=name),
        ):
            return 0, ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_code, error.verify_message
    except OSError as error:
        return 0, str(error)


def _look_at_old_tls(seen: Seen, address: str, name: str, port: int) -> None:
    context = trusting_anyone()
    with warnings.catch_warnings():
        # Python warns of what is asked for here, and it is right.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    # Only so low does OpenSSL 3 speak it at all.
    context.set_ciphers("ALL:@SECLEVEL=0")
    _code, why = _refusal(address, name, context, port)
    if not why:
        seen.problems["old_tls"] = "TLS 1.1 or older is spoken"
    elif "alert" not in why.lower():
        # Not the server's word, but that of the OpenSSL at this end.
        seen.unasked["old_tls"] = f"not known, since this end cannot speak TLS 1.1 itself ({why})"


def _look_behind(seen: Seen, address: str, front: str, sites: list[dict], port: int) -> None:
    problems, open_doors, denied = [], [], []
    for site in sites:
        name, path, user = site["name"] or front, site["path"], site["user"]
        where = f"https://{name}{path}" if site["name"] else path
        logins = ["", f"{user}:{site['password']}"] if user else [""]
        try:
            *strangers, answer = (ask(address, name, path, trusting_anyone(), port, login) for login in logins)
        except OSError as error:
            problems.append(f"{where}: {error}")
            continue
        open_doors += [
            f"{where}: status {stranger.status} without a password"
            for stranger in strangers
            if not (stranger.is_nginxs(ASKED) or stranger.is_nginxs(DENIED))
        ]
        if answer.status in UNANSWERED:
            problems.append(f"{where}: status {answer.status}")
        elif answer.is_nginxs(DENIED):
            denied.append(where)
        elif user and answer.is_nginxs(ASKED):
            open_doors.append(f"{where}: the password of {user} is refused")
    seen.judge("paths", problems)
    seen.judge("passwords", open_doors)
    if denied and not problems:
        seen.unasked["paths"] = f"nobody may come to {', '.join(denied)} from where this was looked"


def _redirect_problem(address: str, name: str, port: int) -> str:
    try:
        answer = ask(address, name, "/", None, port)
    except OSError as error:
        return f"http://{name}: {error}"
    target = answer.headers.get("location", "")
    return "" if target.startswith("https://") else f"http://{name} answers {answer.status} {target}".rstrip()
