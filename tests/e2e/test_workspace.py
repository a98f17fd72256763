"""A workspace behind its front, away from any browser: damaged, found out, repaired; and what its owner may choose."""

from __future__ import annotations

import signal
import ssl
import urllib.request

import pytest

from tests.e2e.conftest import OTHER, USER, Workspace

pytestmark = pytest.mark.e2e

# What breaks, how, and the words of the report that name it.
DAMAGES = {
    "edited front": (
        "sed -i 's/TLSv1.2 TLSv1.3/TLSv1 TLSv1.2/' /etc/nginx/sites-available/dlhost.conf",
        "TLSv1 TLSv1.2",
    ),
    "edited Jupyter configuration": (
        f"sed -i 's/password_required = True/password_required = False/' "
        f"/etc/dlhost/jupyter/{USER}/jupyter_server_config.py",
        "password_required = False",
    ),
    "replaced key and certificate": (
        "openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=stranger -addext subjectAltName=DNS:rig "
        "-keyout /etc/dlhost/tls/key.pem -out /etc/dlhost/tls/cert.pem 2>/dev/null; systemctl reload nginx.service",
        "it was not signed by tls_ca_certificate",
    ),
    "deleted file of a wheel": (
        "rm /opt/dlhost/jupyter/lib/python3*/site-packages/jupyterlab/commands.py",
        "jupyterlab/commands.py",
    ),
    "uninstalled package": (
        "/opt/dlhost/jupyter/bin/python -m ensurepip >/dev/null;"
        "/opt/dlhost/jupyter/bin/python -m pip uninstall --quiet --yes argon2-cffi 2>/dev/null",
        "argon2_cffi 25",
    ),
    "masked server": (
        f"systemctl mask --quiet --now dlhost-jupyter@{OTHER}.service",
        f"dlhost-jupyter@{OTHER}.service is masked",
    ),
    "masked front": ("systemctl mask --quiet --now nginx.service", "nginx.service is masked"),
    "changed mode": ("chmod 0666 /etc/systemd/system/dlhost-jupyter@.service", "dlhost-jupyter@.service (is)"),
}


def test_every_damage_is_found_by_one_look_and_repaired_by_one_run(workspace: Workspace) -> None:
    workspace.require(0, "drift")
    workspace.host.execute("; ".join(command for command, _words in DAMAGES.values()))
    before = workspace.host.files()

    found = workspace.require(3, "drift")
    assert workspace.host.files() == before, "drift changed the host"
    assert [name for name, (_command, words) in DAMAGES.items() if words not in found] == [], found
    workspace.require(7, "verify")

    workspace.require(0, "provision")
    workspace.require(0, "drift")
    workspace.require(0, "verify")


@pytest.mark.long
def test_a_host_that_signs_for_itself_is_trusted_by_its_own_certificate_alone(chosen: Workspace) -> None:
    chosen.set(tls_mode="self_signed")
    chosen.require(0, "provision")
    checks = chosen.checks("verify", code=0)
    assert {checks[name] for name in ("tls.client", "nginx_proxy.chain", "nginx_proxy.names", "jupyter.public")} == {
        "pass"
    }

    # Whoever else answers there is found out, though nobody could know his certificate either.
    chosen.host.execute(
        "cd /root && openssl req -x509 -newkey rsa:2048 -noenc -days 9 -subj /CN=x -keyout k -out c 2>/dev/null;"
        "sed -i 's#/etc/dlhost/tls/cert.pem#/root/c#; s#/etc/dlhost/tls/key.pem#/root/k#'"
        " /etc/nginx/sites-available/dlhost.conf; systemctl reload nginx.service"
    )
    checks = chosen.checks("verify", code=7)
    assert {checks["nginx_proxy.chain"], checks["jupyter.public"]} == {"fail"}


@pytest.mark.long
def test_a_certificate_of_the_users_own_says_what_the_front_is_called(chosen: Workspace) -> None:
    address = chosen.host.address
    names = f"subjectAltName=DNS:*.lab.example.org,DNS:Rig.example.org,IP:{address}"
    made = chosen.host.execute(
        f"openssl req -x509 -newkey rsa:2048 -noenc -days 90 -subj /CN=rig -addext {names!r} -keyout - 2>/dev/null"
    )
    key, begin, certificate = made.partition("-----BEGIN CERTIFICATE-----")
    certificate = begin + certificate
    chosen.set(
        tls_mode="provided",
        tls_certificate=certificate,
        tls_certificate_key=key,
        tls_anchors=certificate,
        # Of these, the certificate serves the first alone.
        tls_names=["my.lab.example.org", "other.example.org"],
    )
    chosen.require(0, "provision")
    served = chosen.host.execute("grep server_name /etc/nginx/sites-available/dlhost.conf")
    assert f"server_name my.lab.example.org rig.example.org {address};" in served
    checks = chosen.checks("verify", "--roles", "tls,nginx_proxy", code=0)
    assert {checks[name] for name in ("tls.client", "nginx_proxy.chain", "nginx_proxy.names")} == {"pass"}


@pytest.mark.long
def test_what_users_serve_themselves_is_behind_the_front_too(chosen: Workspace) -> None:
    site = {"path": "/mine/", "upstream": "http://127.0.0.1:9300"}
    chosen.host.execute(
        "mkdir -p /srv/www/mine; echo of my own > /srv/www/mine/word;"
        "systemd-run --quiet --unit=mine python3 -m http.server --bind 127.0.0.1 --directory /srv/www 9300"
    )
    chosen.set(nginx_proxy_sites=[site])
    chosen.require(0, "provision")
    chosen.require(0, "verify")
    trusting = ssl.create_default_context(cafile=str(chosen.authority))
    for url, words in ((f"https://{chosen.host.address}/mine/word", "of my own"), (chosen.url(USER), "Jupyter")):
        with urllib.request.urlopen(url, context=trusting) as answer:  # noqa: S310
            assert words in answer.read().decode()

    chosen.set(nginx_proxy_sites=[{**site, "path": f"/jupyter/{USER}/"}])
    assert f"Two sites have the path /jupyter/{USER}/" in chosen.require(5, "provision")
    chosen.set(nginx_proxy_role_sites=[site])
    assert "nginx_proxy_role_sites has no effect here: the playbook sets it" in chosen.require(2, "provision")
    chosen.host.execute("systemctl stop mine.service")


@pytest.mark.long
def test_the_certificate_does_not_go_while_the_front_needs_it(chosen: Workspace) -> None:
    chosen.set(tls_state="absent")
    assert "nginx_proxy serves with its certificate" in chosen.require(5, "provision")
    assert chosen.host.execute("nginx -t 2>&1 && echo fine").endswith("fine\n")

    chosen.set(tls_state="absent", nginx_proxy_state="absent", jupyter_state="absent")
    chosen.require(0, "provision")
    chosen.require(0, "verify")
    assert chosen.host.execute("nginx -t 2>&1 && ls /etc/dlhost").splitlines()[-1] == "managed.json"


def test_a_tunnel_leads_to_jupyter_without_an_open_port(workspace: Workspace) -> None:
    tunnel = workspace.dlhost.start("tunnel", "jupyter", "-i", workspace.inventory, "--user", OTHER)
    assert tunnel.stdout is not None
    try:
        url = tunnel.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:") and url.endswith(f"/jupyter/{OTHER}/")
        with urllib.request.urlopen(url) as answer:  # noqa: S310
            assert "Password" in answer.read().decode()
    finally:
        tunnel.send_signal(signal.SIGINT)
        tunnel.communicate()
    assert tunnel.returncode == 0
