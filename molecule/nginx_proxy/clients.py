"""Clients of the front, run on its host: `front` uses it in every way, `still` once, `others` other people's sites.

`load ADDRESS` is many of them at once, from another host, until nginx has been reloaded often enough.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

NAME = "rig.example.org"
BOARD = "board.example.org"
# Not in one piece, as this file is on the host, and nothing there may have it.
PASSWORD = "-".join(("of", "the", "front", "door"))
UPLOAD_MIB = 1024
ASKERS, REQUESTS = 12, 250
WEBSOCKETS = 200
RELOADS = 12
LOAD_TIMEOUT_S = 60


def trusting_anyone(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version
    return context


ANYONE = trusting_anyone()


class Client(http.client.HTTPConnection):
    """To the name of a server at an address of this host, by TLS on 443 and plainly on 80."""

    def __init__(self, name: str = NAME, address: str = "127.0.0.1", port: int = 443, tls=ANYONE) -> None:
        super().__init__(address, port, timeout=60)
        self.name = name
        self.tls = tls

    def connect(self) -> None:
        super().connect()
        if self.port == 443:
            self.sock = self.tls.wrap_socket(self.sock, server_hostname=self.name)


def ask(path: str, method: str = "GET", body: object = None, client: Client | None = None, **headers: str):
    """Status, headers and text of one answer."""
    client = client or Client()
    named = {"Host": client.name, **{key.replace("_", "-"): value for key, value in headers.items()}}
    client.request(method, path, body, named)
    answer = client.getresponse()
    text = answer.read().decode()
    client.close()
    return answer.status, answer.headers, text


class WebSocket:
    """RFC 6455, as far as short texts go."""

    def __init__(self, path: str, name: str = NAME, address: str = "127.0.0.1", login: str = "") -> None:
        client = Client(name, address)
        client.connect()
        self.stream = client.sock
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {name}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Origin: https://{name}"]
        lines += [f"Authorization: {login}"] if login else []
        lines += ["", ""]
        self.stream.sendall("\r\n".join(lines).encode())
        self.reader = self.stream.makefile("rb")
        status = self.reader.readline()
        assert b" 101 " in status, status
        while self.reader.readline() != b"\r\n":
            pass

    def echoes(self, text: str) -> bool:
        mask, data = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.stream.sendall(struct.pack("BB", 0x81, 0x80 | len(data)) + mask + masked)
        _head, length = struct.unpack("BB", self.reader.read(2))
        return self.reader.read(length) == data


def still() -> None:
    status, _headers, text = ask("/jupyter/ada/lab")
    assert status == 200 and json.loads(text)["path"] == "/jupyter/ada/lab", (status, text)


def others() -> None:
    assert ask("/", client=Client("old.example.org", port=80))[2] == "somebody else's, plain"
    assert ask("/", client=Client("other.example.org"))[2] == "somebody else's, encrypted"


def spoken(version: ssl.TLSVersion) -> tuple[str | None, str | None]:
    """TLS and HTTP as a client gets them that knows this version of TLS alone."""
    context = trusting_anyone(version)
    context.minimum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", 443)) as plain, context.wrap_socket(plain, server_hostname=NAME) as tls:
        return tls.version(), tls.selected_alpn_protocol()


def programs() -> None:
    """The site of PHP programs."""
    for path in ("/programs/", "/programs/index.php", "/programs/other.php?a=b"):
        status, headers, text = ask(path, X_Forwarded_For="192.0.2.9", Proxy="192.0.2.9:80")
        seen = json.loads(text)
        assert (status, seen["HTTPS"], seen["REMOTE_ADDR"]) == (200, "on", "127.0.0.1"), (path, status, text)
        assert seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.1" and "HTTP_PROXY" not in seen, (path, text)
        assert headers.get_all("X-Frame-Options") == ["SAMEORIGIN"], headers.items()
    assert seen["QUERY_STRING"] == "a=b" and seen["SCRIPT_NAME"] == "/programs/other.php", seen
    status, headers, text = ask("/programs/assets/look.css")
    assert (status, headers["Content-Type"], text.strip()) == (200, "text/css", "body {}"), (status, headers.items())
    status, headers, _text = ask("/programs")
    assert (status, headers["Location"]) == (301, "/programs/"), headers.items()
    hidden = ["conf/secret.php", "conf/secret.yml", "conf/", "assets/.git/config", "assets/run.php", "widgets/local/x"]
    hidden += [".htaccess", "secret.inc", "index.php/x", "none.php", "conf%2fsecret.yml", "assets/..%2fconf/secret.yml"]
    answers = {path: ask(f"/programs/{path}")[0] for path in hidden}
    assert set(answers.values()) == {404}, answers
    assert ask("/programs/assets/")[0] == 403, "no list of what is there"

    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert json.loads(ask("/programs/other.php", "POST", b"name=ada", **form)[2])["name"] == "ada"
    assert ask("/programs/other.php", "POST", b"x" * (2 << 20), **form)[0] == 413


def known(login: str = f"ada:{PASSWORD}") -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


GUESS = known("ada:of-a-stranger")


def board() -> None:
    """The site under a name of its own, with passwords."""
    status, headers, _text = ask("/", client=Client(BOARD))
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="/"'), headers.items()
    for login in (GUESS, known(f"eve:{PASSWORD}"), known("ada:"), f"Bearer {PASSWORD}"):
        assert ask("/", client=Client(BOARD), Authorization=login)[0] == 401, login
    for login in (known(), known("grace:un mot de passe à elle")):
        status, headers, text = ask("/deep/er?a=b", client=Client(BOARD), Authorization=login)
        seen = json.loads(text)
        assert (status, seen["path"], seen["headers"]["Host"]) == (200, "/deep/er?a=b", BOARD), text
        assert "Authorization" not in seen["headers"], "the password is the front's alone"
    assert headers["Content-Security-Policy"] == "frame-ancestors https://rig.example.org", headers.items()
    assert "X-Frame-Options" not in headers and headers["Referrer-Policy"] == "same-origin", headers.items()
    assert WebSocket("/ws", BOARD, login=known()).echoes("42")
    # Where nobody asks for a password, what is behind may have one of its own.
    assert json.loads(ask("/jupyter/ada/x", Authorization="token abc")[2])["headers"]["Authorization"] == "token abc"
    # Neither site is to be had under the other's name, nor the front's pages.
    assert ask("/small/x", client=Client(BOARD))[0] == 401
    assert ask("/deep/er")[0] == 404

    # From an address that nobody else here comes from: hundreds at once are answered, slowly in the end, more are not.
    # With TLS 1.2, since in that nothing but an answer can be read.
    older = trusting_anyone(ssl.TLSVersion.TLSv1_2)
    guesses = [Client(BOARD, own_address(), tls=older) for _ in range(500)]
    for client in guesses:
        client.connect()
    for client in guesses:
        client.request("GET", "/", headers={"Host": BOARD, "Authorization": GUESS})
    waiting, statuses = {client.sock: client for client in guesses}, set()
    while waiting and not {401, 429} <= statuses:
        ready, _write, _broken = select.select(list(waiting), [], [])
        statuses |= {waiting.pop(stream).getresponse().status for stream in ready}
    assert statuses == {401, 429}, statuses
    for client in guesses:
        client.close()

    file = Path("/etc/dlhost/nginx_proxy/passwords/board.example.org=")
    assert (file.stat().st_mode & 0o777, file.owner(), file.group()) == (0o640, "root", "www-data")
    looks = ["grep", "-rlF", "-e", PASSWORD, "/etc", "/var", "/root", "/run"], ["journalctl", "--grep", PASSWORD]
    told = [subprocess.run(look, capture_output=True, text=True, check=False).stdout for look in looks]
    assert told[0] == "" and PASSWORD not in told[1], f"the password is on the host: {told}"


def own_address() -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))  # Nothing is sent: it tells this host's own address.
        return str(route.getsockname()[0])


class Load:
    """Clients of another host's front, all at once; `lost` says what became of those who got no answer."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.deadline = time.monotonic() + LOAD_TIMEOUT_S
        self.reloads = self.answers = self.reopened = 0
        self.lost: list[str] = []

    def run(self) -> None:
        sockets = [WebSocket("/jupyter/ada/ws", address=self.address) for _ in range(WEBSOCKETS)]
        threads = [threading.Thread(target=self.asker, args=(number,)) for number in range(ASKERS)]
        threads += [threading.Thread(target=self.upload), threading.Thread(target=self.chatter, args=(sockets,))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        silent = sum(not stream.echoes("at last") for stream in sockets)
        done = f"{self.answers} answers, {self.reloads} reloads, {self.reopened} times closed between two requests"
        sys.stdout.write(f"{done}\n")
        assert not self.lost and not silent, (self.lost[:5], len(self.lost), silent)
        assert self.reloads >= RELOADS, self.reloads

    @property
    def goes_on(self) -> bool:
        return self.reloads < RELOADS and time.monotonic() < self.deadline

    def asker(self, number: int) -> None:
        """Half of them with a new connection for every request."""
        client = Client(NAME, self.address)
        asked = 0
        while asked < REQUESTS or self.goes_on:
            kept = number % 2 and client.sock
            try:
                client.request("GET", f"/jupyter/ada/{number}/{asked}", headers={"Host": NAME})
                answer = client.getresponse()
                seen = json.loads(answer.read())
                assert answer.status == 200 and seen["path"].endswith(f"/{number}/{asked}"), seen
            except (OSError, http.client.HTTPException) as error:
                client.close()
                # A server may close a connection on which nothing is asked, and a browser asks again on another.
                if kept:
                    self.reopened += 1
                    continue
                self.lost.append(repr(error))
            asked += 1
            self.answers += 1
            self.reloads = max(self.reloads, seen["reloads"])
            if not number % 2:
                client.close()

    def upload(self) -> None:
        chunk = b"x" * (1 << 20)
        size = UPLOAD_MIB << 20
        client = Client(NAME, self.address)
        sent = ask("/jupyter/ada/upload", "POST", (chunk for _ in range(UPLOAD_MIB)), client, Content_Length=str(size))
        if (sent[0], json.loads(sent[2])["size"]) != (200, size):
            self.lost.append(f"upload: {sent}")

    def chatter(self, sockets: list[WebSocket]) -> None:
        while self.goes_on:
            self.lost += [f"websocket {number}" for number, one in enumerate(sockets) if not one.echoes(str(number))]


def load() -> None:
    address = sys.argv[2]
    let_in = [ask(path, client=Client(address=address))[0] for path in ("/near/", "/closed/", "/programs/")]
    assert let_in == [200, 403, 403], let_in
    Load(address).run()


def front() -> None:
    still()
    programs()
    board()
    assert spoken(ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "h2")
    assert spoken(ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", "h2")
    _status, headers, text = ask("/jupyter/ada/x", Origin="https://evil.example", X_Forwarded_For="192.0.2.9")
    seen = json.loads(text)["headers"]
    assert seen["Origin"] == "https://evil.example", seen
    assert (seen["Host"], seen["X-Forwarded-Proto"], seen["X-Forwarded-For"]) == (NAME, "https", "127.0.0.1"), seen
    assert headers.get_all("X-Content-Type-Options") == ["nosniff"], headers.items()
    assert headers.get_all("X-Frame-Options") == ["SAMEORIGIN"], headers.items()
    assert headers["Server"] == "nginx" and "Strict-Transport-Security" not in headers, headers.items()

    # Not only where kernels are: terminals and language servers have websockets as well.
    for path in ("/jupyter/ada/api/kernels/1/channels", "/jupyter/ada/terminals/websocket/1", "/small/x"):
        assert WebSocket(path).echoes("42"), path
    kept = WebSocket("/jupyter/ada/api/kernels/1/channels")
    subprocess.run(["systemctl", "reload", "nginx"], check=True)
    time.sleep(1)
    assert kept.echoes("still here"), "a reload ends no connection"

    assert ask("/small/upload", "POST", b"x" * (2 << 20))[0] == 413
    assert [ask(path)[0] for path in ("/closed/", "/near/")] == [403, 403]

    assert {ask("/jupyter/ada/login")[0] for _ in range(30)} == {200}, "reading the page is not counted"
    tries = [ask("/jupyter/ada/login", "POST", b"password=guess")[0] for _ in range(20)]
    assert tries[:10] == [403] * 10 and 429 in tries, tries
    # All logins of the front are one to who guesses, by whatever address.
    assert [ask(path, "POST", b"name=guess")[0] for path in ("/programs/", "/programs/index.php")] == [429, 429]

    status, headers, _text = ask("/jupyter/ada")
    assert (status, headers["Location"]) == (301, "/jupyter/ada/"), headers.items()
    status, _headers, text = ask("/")
    assert status == 200 and 'href="/jupyter/ada/"' in text and 'href="https://board.example.org/"' in text, text
    _status, headers, _text = ask("/", Accept_Encoding="gzip")
    assert "Content-Encoding" not in headers, "how short it gets would tell of what is in it"
    status, headers, _text = ask("/a?b=c", client=Client(port=80))
    assert (status, headers["Location"]) == (301, f"https://{NAME}/a?b=c"), headers.items()
    # Who was there before goes on answering for names that are nobody's.
    stranger = ask("/", client=Client("stranger.example"))
    assert stranger[0] == 421 or stranger[2] == "somebody else's, encrypted", stranger
    assert ask("/nothing")[0] == 404
    assert ask("/.dlhost/revision")[0] == 200
    assert ask("/.dlhost/revision", client=Client(address=own_address()))[0] == 404, own_address()

    subprocess.run(["systemctl", "stop", "upstream"], check=True)
    assert [ask("/", client=Client(BOARD), **login)[0] for login in ({}, {"Authorization": known()})] == [401, 502]
    status, headers, text = ask("/jupyter/ada/lab")
    subprocess.run(["systemctl", "start", "upstream"], check=True)
    assert status == 502 and "Nothing answers here right now" in text, (status, text)
    assert headers["Content-Type"] == "text/html" and "Referrer-Policy" in headers, headers.items()
    log = Path("/var/log/nginx/access.log").read_text()
    assert "/a " in log and "b=c" not in log, "a query may hold a token"


{"front": front, "still": still, "others": others, "load": load}[sys.argv[1]]()
