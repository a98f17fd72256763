"""What a client sees at a front, against real TLS servers on the loopback address."""

from __future__ import annotations

import base64
import itertools
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from plugins.module_utils import nginx_front

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "SAMEORIGIN"}
Serve = Callable[..., int]


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def make_key_and(directory: Path, name: str, *arguments: str) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
    openssl(directory, "req", *key, "-subj", f"/CN={name}", "-out", f"{name}.pem", *arguments)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, a certificate of the first with its key, and one that signs itself."""
    directory = tmp_path_factory.mktemp("certificates")
    for authority in ("ours", "theirs"):
        make_key_and(directory, authority, "-x509", "-addext", "keyUsage=keyCertSign")
    make_key_and(directory, "itself", "-x509", "-addext", NAMES)
    make_key_and(directory, "request")
    (directory / "names").write_text(NAMES)
    signed = ("-req", "-in", "request.pem", "-CA", "ours.pem", "-CAkey", "ours.key", "-CAcreateserial")
    openssl(directory, "x509", *signed, "-extfile", "names", "-out", "leaf.pem")
    (directory / "front.pem").write_text((directory / "leaf.pem").read_text() + (directory / "ours.pem").read_text())
    (directory / "front.key").write_text((directory / "request.key").read_text())
    return directory


@pytest.fixture
def serve(certificates: Path) -> Iterator[Serve]:
    """Serves until the test ends; returns the port. Without a certificate it is the plain one of port 80."""
    servers = []

    def start(
        certificate: str = "",
        *,
        headers: dict[str, str] = HEADERS,
        status: int = 200,
        body: Iterable[str] = (),
        login: str = "",
        old_tls: bool = False,
    ) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                refused = login and self.path != "/" and self.headers["Authorization"] != f"Basic {login}"
                self.send_response(401 if refused else status if self.path != "/" or not certificate else 200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in [nginx_front.OWN_PAGE] if refused else body:
                    self.wfile.write(part.encode())

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            if old_tls:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    context.minimum_version = ssl.TLSVersion.TLSv1
                context.set_ciphers("ALL:@SECLEVEL=0")
            context.load_cert_chain(certificates / f"{certificate}.pem", certificates / f"{certificate}.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


ADA = {"user": "ada", "password": "of the tests"}


def site(**more: str) -> dict[str, str]:
    return {"name": "", "path": "/a/", "user": "", "password": "", **more}


@pytest.fixture
def look(serve: Serve, certificates: Path) -> Callable[..., nginx_front.Seen]:
    """Looks at a front; what the caller does not say is as it should be."""

    def at(**said: object) -> nginx_front.Seen:
        wanted = SimpleNamespace(
            **{
                "https": None,
                "http": None,
                "names": ["localhost", "127.0.0.1"],
                "sites": [site()],
                "authority": (certificates / "ours.pem").read_text(),
                "redirects": True,
            }
            | said
        )
        https = wanted.https or serve("front")
        http = wanted.http or serve(headers={"Location": "https://localhost/"}, status=301)
        return nginx_front.look(
            "127.0.0.1", wanted.names, wanted.sites, wanted.authority, wanted.redirects, (https, http)
        )

    return at


def test_a_good_front_has_no_problems(look: Callable[..., nginx_front.Seen]) -> None:
    assert look() == nginx_front.Seen()


def test_an_answer_comes_with_every_certificate_of_the_connection(serve: Serve, certificates: Path) -> None:
    answer = nginx_front.ask("127.0.0.1", "localhost", "/x", nginx_front.trusting_anyone(), serve("front"))

    assert (answer.status, answer.headers["x-frame-options"]) == (200, "SAMEORIGIN")
    chain = [ssl.PEM_cert_to_DER_cert((certificates / name).read_text()) for name in ("leaf.pem", "ours.pem")]
    assert list(answer.chain) == chain


def test_an_answer_that_never_ends_is_read_no_further(
    look: Callable[..., nginx_front.Seen], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx_front, "TIMEOUT_S", 1)

    def silent_after_a_word() -> Iterator[str]:
        yield "data: a\n\n"
        done.wait(10)

    done = threading.Event()
    assert look(https=serve("front", body=itertools.repeat("x" * 1000))) == nginx_front.Seen()
    assert look(https=serve("front", body=silent_after_a_word())).problems == {}
    done.set()


def test_no_other_authority_counts(look: Callable[..., nginx_front.Seen], certificates: Path) -> None:
    seen = look(authority=(certificates / "theirs.pem").read_text())

    assert "unable to get local issuer certificate" in seen.problems["chain"] or "self" in seen.problems["chain"]
    assert "not trusted" in seen.unasked["names"]
    # Nor does this machine trust it, and it is not its own.
    assert "chain" in look(authority="").problems


def test_a_certificate_that_signs_itself_is_vouched_for_by_nobody(
    look: Callable[..., nginx_front.Seen], serve: Serve, certificates: Path
) -> None:
    seen = look(https=serve("itself"), authority="")

    assert "signed by itself" in seen.unasked["chain"]
    assert seen.problems == {}
    assert "names" in look(https=serve("itself"), authority="", names=["other.example.org"]).problems
    # Nobody vouches for it where somebody should, and it is its own authority where that is asked for.
    assert "chain" in look(https=serve("itself"), authority=(certificates / "theirs.pem").read_text()).problems
    assert look(https=serve("itself"), authority=(certificates / "itself.pem").read_text()) == nginx_front.Seen()


def test_a_certificate_whose_time_is_over_is_not_trusted(
    look: Callable[..., nginx_front.Seen], serve: Serve, certificates: Path
) -> None:
    openssl(certificates, "x509", "-in", "itself.pem", "-signkey", "itself.key", "-days", "-1", "-out", "over.pem")
    (certificates / "over.key").write_text((certificates / "itself.key").read_text())
    seen = look(https=serve("over"), authority=(certificates / "over.pem").read_text())

    assert "certificate has expired" in seen.problems["chain"]


def test_every_name_has_to_be_in_the_certificate(look: Callable[..., nginx_front.Seen]) -> None:
    seen = look(names=["localhost", "rig.example.org", "127.0.0.2"])

    assert set(seen.problems) == {"names"}
    assert "rig.example.org" in seen.problems["names"] and "127.0.0.2" in seen.problems["names"]
    assert "localhost:" not in seen.problems["names"]


def test_tls_1_1_is_noticed(look: Callable[..., nginx_front.Seen], serve: Serve) -> None:
    seen = look(https=serve("front", old_tls=True))

    # Where this machine's OpenSSL has no TLS 1.1 at all, that is said instead.
    assert "TLS 1.1" in {**seen.problems, **seen.unasked}["old_tls"]
    assert set(seen.problems) <= {"old_tls"}


def test_a_path_with_nobody_behind_it_is_named(look: Callable[..., nginx_front.Seen], serve: Serve) -> None:
    assert look(https=serve("front", status=502)).problems == {"paths": "/a/: status 502"}
    # Somebody who asks for a password is somebody.
    assert look(https=serve("front", status=403)) == nginx_front.Seen()
    closed = look(https=serve("front", status=403, body=["<center>nginx</center>"]))
    assert closed.problems == {} and "nobody may come to /a/ from" in closed.unasked["paths"]


def test_a_site_with_passwords_is_asked_without_one_and_with_one(
    look: Callable[..., nginx_front.Seen], serve: Serve
) -> None:
    login = base64.b64encode(b"ada:of the tests").decode()
    guarded = {"sites": [site(**ADA)]}

    assert look(https=serve("front", login=login), **guarded) == nginx_front.Seen()
    down = look(https=serve("front", login=login, status=502), **guarded)
    assert down.problems == {"paths": "/a/: status 502"}
    other = look(https=serve("front", login=login), sites=[site(**ADA | {"password": "another"})])
    assert other.problems == {"passwords": "/a/: the password of ada is refused"}
    # Not even where what is behind it has a login of its own.
    for status in (200, 401):
        open_door = look(https=serve("front", status=status), **guarded)
        assert open_door.problems == {"passwords": f"/a/: status {status} without a password"}


def test_a_site_is_asked_under_its_own_name(look: Callable[..., nginx_front.Seen], serve: Serve) -> None:
    down = look(https=serve("front", status=502), sites=[site(), site(name="127.0.0.1", path="/")])
    assert down.problems == {"paths": "/a/: status 502"}
    down = look(https=serve("front", status=502), sites=[site(name="127.0.0.1")])
    assert down.problems == {"paths": "https://127.0.0.1/a/: status 502"}


def test_missing_headers_and_redirects_are_named(look: Callable[..., nginx_front.Seen], serve: Serve) -> None:
    problems = look(https=serve("front", headers={"X-Frame-Options": "DENY"}), http=serve(status=200)).problems

    assert problems["headers"] == "x-content-type-options is missing; referrer-policy is missing"
    assert problems["redirect"].startswith("http://localhost answers 200")
    assert "redirect" in look(redirects=False).unasked


def test_a_front_that_does_not_answer_is_one_problem(look: Callable[..., nginx_front.Seen], serve: Serve) -> None:
    seen = look(https=1)

    assert set(seen.problems) == {"reachable"} and "refused" in seen.problems["reachable"]
    assert set(seen.unasked) == set(nginx_front.TOPICS)
    # A server that speaks no TLS is none either.
    assert set(look(https=serve()).problems) == {"reachable"}
