"""Clients of the front, run on its host: `front` uses it in every way, `still` once, `others` other people's sites."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import time

NAME = "rig.example.org"
UPLOAD_MIB = 200
ANYONE = ssl.create_default_context()
ANYONE.check_hostname = False
ANYONE.verify_mode = ssl.CERT_NONE


class Client(http.client.HTTPConnection):
    """To the name of a server at an address of this host, by TLS on 443 and plainly on 80."""

    def __init__(self, name: str = NAME, address: str = "127.0.0.1", port: int = 443) -> None:
        super().__init__(address, port, timeout=60)
        self.name = name

    def connect(self) -> None:
        super().connect()
        if self.port == 443:
            self.sock = ANYONE.wrap_socket(self.sock, server_hostname=self.name)


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

    def __init__(self, path: str) -> None:
        client = Client()
        client.connect()
        self.stream = client.sock
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {NAME}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Origin: https://{NAME}", "", ""]
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
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
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


def front() -> None:
    still()
    programs()
    assert spoken(ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "h2")
    assert spoken(ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", "h2")
    _status, headers, text = ask("/jupyter/ada/x", Origin="https://evil.example", X_Forwarded_For="192.0.2.9")
    seen = json.loads(text)["headers"]
    assert seen["Origin"] == "https://evil.example", seen
    assert (seen["Host"], seen["X-Forwarded-Proto"], seen["X-Forwarded-For"]) == (NAME, "https", "127.0.0.1"), seen
    assert headers.get_all("X-Content-Type-Options") == ["nosniff"], headers.items()
    assert headers["Server"] == "nginx" and "Strict-Transport-Security" not in headers, headers.items()

    # Not only where kernels are: terminals and language servers have websockets as well.
    for path in ("/jupyter/ada/api/kernels/1/channels", "/jupyter/ada/terminals/websocket/1", "/small/x"):
        assert WebSocket(path).echoes("42"), path
    kept = WebSocket("/jupyter/ada/api/kernels/1/channels")
    subprocess.run(["systemctl", "reload", "nginx"], check=True)
    time.sleep(1)
    assert kept.echoes("still here"), "a reload ends no connection"

    chunk = b"x" * (1 << 20)
    length = str(UPLOAD_MIB << 20)
    status, _headers, text = ask(
        "/jupyter/ada/upload", "POST", (chunk for _ in range(UPLOAD_MIB)), Content_Length=length
    )
    assert (status, json.loads(text)["size"]) == (200, UPLOAD_MIB << 20), (status, text)
    assert ask("/small/upload", "POST", b"x" * (2 << 20))[0] == 413
    assert ask("/closed/")[0] == 403

    assert {ask("/jupyter/ada/login")[0] for _ in range(30)} == {200}, "reading the page is not counted"
    tries = [ask("/jupyter/ada/login", "POST", b"password=guess")[0] for _ in range(20)]
    assert tries[:10] == [403] * 10 and 429 in tries, tries
    # All logins of the front are one to who guesses, by whatever address.
    assert [ask(path, "POST", b"name=guess")[0] for path in ("/programs/", "/programs/index.php")] == [429, 429]

    status, headers, _text = ask("/jupyter/ada")
    assert (status, headers["Location"]) == (301, "/jupyter/ada/"), headers.items()
    status, _headers, text = ask("/")
    assert status == 200 and 'href="/jupyter/ada/"' in text, text
    status, headers, _text = ask("/a?b=c", client=Client(port=80))
    assert (status, headers["Location"]) == (301, f"https://{NAME}/a?b=c"), headers.items()
    # Who was there before goes on answering for names that are nobody's.
    stranger = ask("/", client=Client("stranger.example"))
    assert stranger[0] == 421 or stranger[2] == "somebody else's, encrypted", stranger
    assert ask("/nothing")[0] == 404
    assert ask("/.dlhost/revision")[0] == 200
    with socket.socket(type=socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))  # Nothing is sent: it tells this host's own address.
        outside = route.getsockname()[0]
    assert ask("/.dlhost/revision", client=Client(address=outside))[0] == 404, outside

    subprocess.run(["systemctl", "stop", "upstream"], check=True)
    status, headers, text = ask("/jupyter/ada/lab")
    subprocess.run(["systemctl", "start", "upstream"], check=True)
    assert status == 502 and "Nothing answers here right now" in text, (status, text)
    assert headers["Content-Type"] == "text/html" and "Referrer-Policy" in headers, headers.items()
    log = open("/var/log/nginx/access.log").read()  # noqa: PTH123, SIM115  a script of one screen
    assert "/a " in log and "b=c" not in log, "a query may hold a token"


{"front": front, "still": still, "others": others}[sys.argv[1]]()
