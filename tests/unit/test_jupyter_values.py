"""Values that role jupyter refuses before any of them reaches a host: one run, in which each has a host of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.plays import results, rules_of

PASSWORD = "correct horse"  # noqa: S105
HASH = "argon2:$argon2id$v=19$m=10240,t=10,p=8$1rOV7b8YeRQ9Gfqlo83mzw$x7BWOGyfQrGAB9cVFRDvbyaFDRIdSyi1JK3GLvi1Mmo"
ADA = {"name": "ada"}
VALUES: dict[str, tuple[dict[str, object], str]] = {
    "list-as-text": ({"jupyter_folders": "data"}, "and jupyter_options a mapping; as extra variables"),
    "options-as-text": ({"jupyter_options": "ServerApp.terminals_enabled=false"}, "jupyter_options a mapping"),
    "nobody": ({"jupyter_users": []}, "names nobody"),
    "root": ({"jupyter_users": [{"name": "root"}]}, "without root's rights"),
    "name-path": ({"jupyter_users": [{"name": "../ada"}]}, "not ../ada"),
    "name-line": ({"jupyter_users": [{"name": "ada\n"}]}, "names of accounts"),
    "name-twice": ({"jupyter_users": [ADA, ADA]}, "an account twice"),
    "port-twice": ({"jupyter_users": [ADA, {"name": "grace", "port": 8888}]}, "would have one port: 8888, 8888"),
    "port-of-tensorboard": (
        {"jupyter_users": [{"name": "ada", "port": 6006}], "jupyter_tensorboard": True},
        "would have one port: 6006, 6006",
    ),
    "port-low": ({"jupyter_port": 443}, "between 1024 and 65535"),
    "port-high": ({"jupyter_users": [{"name": "ada", "port": 70000}]}, "between 1024 and 65535"),
    "password-missing": ({"jupyter_password": None}, "jupyter_password, or a user's own password, is empty"),
    "password-empty": ({"jupyter_users": [{"name": "ada", "password": ""}]}, "a user's own password, is empty"),
    "password-short": ({"jupyter_password": "seven77"}, "less than 8 characters"),
    "password-lines": ({"jupyter_password": "one line\nand another"}, "several lines"),
    "password-of-user": ({"jupyter_users": [{"name": "ada", "password": "short"}]}, "less than 8 characters"),
    "hash-sha1": (
        {"jupyter_password": "sha1:0e112c3ddfce:a68df677475c2b47b6e86d0467eec97ac5f4b85a"},
        "kind that no longer protects",
    ),
    "hash-sha256": ({"jupyter_users": [{"name": "ada", "password": f"sha256:ab:{'0' * 64}"}]}, "no longer protects"),
    "hash-without-salt": ({"jupyter_password": f"sha1::{'0' * 40}"}, "no longer protects"),
    "hash-argon2i": ({"jupyter_password": HASH.replace("argon2id", "argon2i")}, "is not as `jupyter server password`"),
    "hash-cut": ({"jupyter_password": HASH[:60]}, "is not as `jupyter server password`"),
    "hash-lines": ({"jupyter_password": f"{HASH}\nx"}, "is not as `jupyter server password`"),
    "bind-open": ({"jupyter_bind": "0.0.0.0"}, "to the network in clear"),  # noqa: S104
    "bind-network": ({"jupyter_bind": "192.0.2.7"}, "to the network in clear"),
    "bind-name": ({"jupyter_bind": "localhost"}, "is no address"),
    "bind-beyond": ({"jupyter_bind": "127.0.0.300"}, "is no address"),
    "bind-network-of": ({"jupyter_bind": "127.0.0.0/8"}, "is no address"),
    "bind-line": ({"jupyter_bind": "127.0.0.1\n"}, "is no address"),
    "certificate-alone": ({"jupyter_bind": "::", "jupyter_certificate": "/etc/cert.pem"}, "belong together"),
    "certificate-relative": (
        {"jupyter_certificate": "cert.pem", "jupyter_certificate_key": "/etc/key.pem"},
        "cert.pem is no path",
    ),
    "hostname": ({"jupyter_hostnames": ["https://rig"]}, "not https://rig"),
    "root-relative": ({"jupyter_root_dir": "notebooks"}, "notebooks is no path"),
    "root-above": ({"jupyter_users": [{"name": "ada", "root_dir": "~/../grace"}]}, "~/../grace is no path"),
    "root-of-another": ({"jupyter_root_dir": "~grace/notebooks"}, "~grace/notebooks is no path"),
    "folder-above": ({"jupyter_folders": ["../data"]}, "within jupyter_root_dir"),
    "folder-absolute": ({"jupyter_folders": ["/data"]}, "within jupyter_root_dir"),
    "option-name": ({"jupyter_options": {"x = 1\nimport os": 1}}, "is not of that form"),
    "option-of-the-role": ({"jupyter_options": {"ServerApp.ip": "::"}}, "ServerApp.ip is not of that form"),
    "option-token": ({"jupyter_options": {"ServerApp.token": "x"}}, "ServerApp.token"),
    "option-cull-busy": ({"jupyter_options": {"AsyncMappingKernelManager.cull_busy": True}}, "cull_busy"),
    "option-old-name": ({"jupyter_options": {"NotebookApp.disable_check_xsrf": True}}, "disable_check_xsrf"),
    "lock": ({"jupyter_requirements": "jupyterlab>=4"}, "'jupyterlab>=4', is not of the shape name==version"),
    "lock-path": ({"jupyter_tensorboard_requirements": "/srv/lock.txt"}, "are texts of locks. Line 1 of the lock"),
    "tensorboard-network": (
        {"jupyter_tensorboard_allow_cidrs": ["::1", "300.1.1.1"]},
        "jupyter_tensorboard_allow_cidrs takes addresses and networks such as 192.0.2.0/24, not 300.1.1.1.",
    ),
    "memory": ({"jupyter_memory_high": "48 GB"}, "is no size"),
    "device": ({"jupyter_devices": ["char-drm"]}, "jupyter_devices takes entries"),
    "device-line": ({"jupyter_devices": ["char-drm rw\nUser=root"]}, "jupyter_devices takes entries"),
    "good": ({}, ""),
    "good-texts": ({"jupyter_port": "9000", "jupyter_tensorboard": "false", "jupyter_tensorboard_port": "9000"}, ""),
    "good-network": (
        {"jupyter_bind": "192.0.2.7", "jupyter_certificate": "/etc/c.pem", "jupyter_certificate_key": "/etc/k.pem"},
        "",
    ),
    "good-own-password": ({"jupyter_password": None, "jupyter_users": [{"name": "ada", "password": PASSWORD}]}, ""),
    "good-absent": ({"jupyter_state": "absent", "jupyter_password": None, "jupyter_users": []}, ""),
    "good-hash": ({"jupyter_password": HASH}, ""),
    "good-everything": (
        {
            "jupyter_users": [{"name": "ada.l-1", "port": 9000, "password": "sha1 is not: a hash"}, {"name": "_g"}],
            "jupyter_bind": "::",
            "jupyter_certificate": "/etc/dlhost/tls/jupyter/cert.pem",
            "jupyter_certificate_key": "/etc/dlhost/tls/jupyter/key.pem",
            "jupyter_hostnames": ["rig.example.org", "192.0.2.7", "2001:db8::7"],
            "jupyter_root_dir": "/srv/my notebooks",
            "jupyter_folders": ["data/raw", "my models"],
            "jupyter_options": {"MappingKernelManager.cull_idle_timeout": 3600, "ServerApp.terminals_enabled": False},
            "jupyter_memory_high": "75%",
            "jupyter_devices": ["char-video4linux rw"],
            "jupyter_tensorboard": True,
        },
        "",
    ),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What the role said to each value, and for the good ones what it publishes and whether any Host is answered."""
    directory = tmp_path_factory.mktemp("values")
    common = {"jupyter_users": [ADA], "jupyter_password": PASSWORD}
    hosts = {
        # None stands for a variable that is not there.
        name: {key: value for key, value in (common | variables).items() if value is not None}
        for name, (variables, _words) in VALUES.items()
    }
    rules = rules_of("jupyter")
    remote = "{{ __jupyter_settings['ServerApp.allow_remote_access'] }}"
    show = {"ansible.builtin.debug": {"msg": {"sites": "{{ jupyter_proxy_sites }}", "remote": remote}}}
    found: dict[str, dict[str, object]] = {name: {} for name in VALUES}
    for _task, host, result in results(directory, hosts, [rules, show]):
        said = result.get("msg", {})
        found[host] |= {"said": said} if result.get("failed") else said if isinstance(said, dict) else {}
    return found


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if words])
def test_a_bad_value_is_refused_in_one_sentence(run: dict[str, dict[str, object]], name: str) -> None:
    said = str(run[name].get("said", ""))
    assert VALUES[name][1] in said
    # A password that is refused is not shown either.
    password = VALUES[name][0].get("jupyter_password")
    assert not password or str(password) not in said


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if not words])
def test_a_good_value_passes(run: dict[str, dict[str, object]], name: str) -> None:
    assert "said" not in run[name]


def test_the_front_is_told_where_the_servers_are(run: dict[str, dict[str, object]]) -> None:
    assert run["good"]["sites"] == [
        {"path": "/jupyter/ada/", "upstream": "http://127.0.0.1:8888", "login_path": "/jupyter/ada/login"}
    ]
    # TensorBoard has no password, so it appears only where addresses are allowed to it.
    assert [(site["path"], site["upstream"]) for site in _sites(run["good-everything"])] == [
        ("/jupyter/ada.l-1/", "https://[::1]:9000"),
        ("/jupyter/_g/", "https://[::1]:8889"),
    ]
    assert [site["upstream"] for site in _sites(run["good-network"])] == ["https://192.0.2.7:8888"]


def test_a_browser_that_comes_by_address_is_answered(run: dict[str, dict[str, object]]) -> None:
    answered = {name: run[name]["remote"] for name in ("good", "good-network", "good-everything")}
    assert answered == {"good": False, "good-network": True, "good-everything": True}


def _sites(result: dict[str, object]) -> list[dict[str, str]]:
    sites = result["sites"]
    assert isinstance(sites, list)
    return sites


def test_every_secret_is_declared_as_one() -> None:
    specs = yaml.safe_load((Path(__file__).parents[2] / "roles/jupyter/meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    assert options["jupyter_password"]["no_log"] is True
    assert options["jupyter_users"]["options"]["password"]["no_log"] is True
