"""Values that role nginx_proxy refuses before a host sees them: one run, in which each has a host of its own."""

from __future__ import annotations

import json

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.plays import results, rules_of

TEMPLATE = "ansible_collections/dlhost/host/roles/nginx_proxy/templates/dlhost.conf.j2"


def site(path: str = "/a/", upstream: str = "http://127.0.0.1:8888", **more: object) -> dict[str, object]:
    return {"path": path, "upstream": upstream, **more}


def sites(*listed: dict[str, object]) -> dict[str, object]:
    return {"nginx_proxy_sites": listed}


def programs(path: str = "/app/", **more: object) -> dict[str, object]:
    """A role's site of the second kind; a value of None leaves its key out."""
    given = {"path": path, "php_root": "/usr/share/app", "php_socket": "/run/app.sock", **more}
    return {"nginx_proxy_role_sites": [{name: value for name, value in given.items() if value is not None}]}


def person(name: str = "ada", words: str = "of the tests") -> dict[str, str]:
    return {"name": name, "password": words}


# Quotes, what YAML takes for the end of a line, and a character beyond the first 65536.
HARD = "of the \"'\\ \u2028 \u00e9 \U0001f600 tests"
NAMED = {"nginx_proxy_server_names": ["a", "b", "c"]}
CIDRS = "addresses and networks such as 192.0.2.0/24"
NO_NETWORKS = [
    *("home", "all", "300.1.1.1", "192.0.2", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/", "10.0.0.0/-8"),
    *("::g", "1:2", "2001:db8::/129", "fe80::1%eth0", "[::1]", "::1; allow all"),
]
VALUES: dict[str, tuple[dict[str, object], str]] = {
    "no-name": ({"nginx_proxy_server_names": []}, "The front has no name by which"),
    "name-url": ({"nginx_proxy_server_names": ["https://rig"]}, "not https://rig"),
    "name-directive": ({"nginx_proxy_server_names": ["a; return 200"]}, "takes host names and addresses"),
    "name-twice": ({"nginx_proxy_server_names": ["rig", "RIG"]}, "the same name twice"),
    "path-open": (sites(site("/a")), "/a is not like that"),
    "path-directive": (sites(site("/a/ { }/")), "from slash to slash"),
    "path-line": (sites(site("/a/\n")), "from slash to slash"),
    "path-up": (sites(site("/a/../b/")), "/a/../b/ is not like that"),
    "path-own": (sites(site("/.well-known/x/")), "the front's own"),
    "path-twice": (sites(site("/a/"), site("/b/"), site("/a/")), "Two sites have the path /a/;"),
    "path-of-a-role": (sites(site()) | {"nginx_proxy_role_sites": [site()]}, "Two sites have the path /a/;"),
    "upstream-bare": (sites(site(upstream="127.0.0.1:8888")), "127.0.0.1:8888 is not like that"),
    "upstream-path": (sites(site(upstream="http://127.0.0.1:8888/x")), "without a path"),
    "upstream-directive": (sites(site(upstream="http://a;b")), "http://a;b is not like that"),
    "programs-neither": (
        programs(php_root=None, php_socket=None),
        "php_root and php_socket and a path that is not /, as /app/ does",
    ),
    "programs-half": (programs(php_socket=None), "as /app/ does not"),
    "programs-both": (programs(upstream="http://127.0.0.1:8888"), "as /app/ does not"),
    "programs-root": (programs(php_root="/usr/share/app; internal"), "as /app/ does not"),
    "programs-socket": (programs(php_socket="127.0.0.1:9000"), "as /app/ does not"),
    "programs-everything": (programs("/"), "as / does not"),
    "programs-login": (programs(login_path="/login.php"), "as /login.php does not"),
    "login-elsewhere": (sites(site(login_path="/b/login")), "as /b/login does not"),
    "login-directive": (sites(site(login_path="/a/login {")), "begins with its path"),
    "api-elsewhere": (programs(api_path="/api.php"), "as /api.php does not"),
    "name-not-of-the-certificate": (
        sites(site(server_names=["b.example.org"])),
        "The certificate is not for b.example.org",
    ),
    "name-of-nobody": (sites(site(server_names=[])), "server_names of a site is empty"),
    "name-left-for-the-front": (
        sites(site(server_names=["rig"])) | {"nginx_proxy_server_names": ["RIG"]},
        "none is left for the front",
    ),
    "path-twice-under-a-name": (
        sites(site(server_names=["b", "c"]), site(), site(server_names=["C"])) | NAMED,
        "Two sites have the path https://c/a/;",
    ),
    "passwords-of-nobody": (sites(site(basic_auth=[])), "basic_auth of a site is empty"),
    "password-name": (
        sites(site(basic_auth=[person("a:b")])),
        "in basic_auth is of letters, digits and . _ @ + -, and not a:b",
    ),
    "password-name-twice": (sites(site(basic_auth=[person(), person()])), "names somebody twice"),
    "password-short": (sites(site(basic_auth=[person(words="eleven char")])), "has less than 12 characters"),
    "password-lines": (sites(site(basic_auth=[person(words="two lines\nof text")])), "several lines"),
    "header-name": (sites(site(headers={"X Y": "z"})), "For X Y that does not hold"),
    "header-both": (sites(site(headers={"X-A: y": "z"})), "For X-A: y that does not hold"),
    "header-value": (sites(site(headers={"X-A": 'b" always; return 200 "'})), "For X-A that does not hold"),
    "header-hsts": (sites(site(headers={"strict-transport-security": "max-age=1"})), "Set nginx_proxy_hsts_max_age_s"),
    "size": (sites(site(max_body_size="1 GB")), "not 1 GB"),
    **{
        f"cidr-{number}": (
            {"nginx_proxy_allow_cidrs": ["::1", cidr]},
            f"nginx_proxy_allow_cidrs takes {CIDRS}, not {cidr}.",
        )
        for number, cidr in enumerate(NO_NETWORKS)
    },
    "cidr-of-a-site": (sites(site(allow_cidrs=["10.0.0.0/8; allow all"])), "not 10.0.0.0/8; allow all"),
    "cidr-of-a-site-beyond": (
        sites(site(allow_cidrs=["192.168.1.300/24"])),
        f"allow_cidrs of a site takes {CIDRS}, not 192.168.1.300/24.",
    ),
    "certificate": ({"nginx_proxy_certificate": "cert.pem"}, "absolute paths"),
    "key-directive": ({"nginx_proxy_certificate_key": "/a; b"}, "absolute paths"),
    "webroot-directive": ({"nginx_proxy_acme_webroot": "/a; b"}, "nginx_proxy_acme_webroot is an absolute path"),
    "hsts": ({"nginx_proxy_hsts_max_age_s": -1}, "give seconds"),
    "good": (
        {
            "nginx_proxy_server_names": ["192.0.2.1", "2001:db8::1", "rig-1.example.org", "my_rig"],
            "nginx_proxy_role_sites": [site("/jupyter/ada/", login_path="/jupyter/ada/login")],
            "nginx_proxy_sites": [
                site("/jupyter/ada.b@c/", "http://[::1]:1", max_body_size="512m", allow_cidrs=["::1", "10.0.0.0/8"]),
                site("/Jupyter/ada/", "https://other.example.org", max_body_size="0", allow_cidrs=[]),
            ],
            "nginx_proxy_allow_cidrs": ["192.0.2.7", "2001:db8::/32"],
            "nginx_proxy_hsts_max_age_s": 300,
            "nginx_proxy_is_trusted": True,
        },
        "",
    ),
    "named": (
        {
            "nginx_proxy_server_names": ["rig", "Board.example.org", "b.example.org", "192.0.2.1"],
            "nginx_proxy_sites": [
                site("/", "http://127.0.0.1:6006", server_names=["board.example.org", "b.example.org"]),
                site("/x/", server_names=["board.example.org"], basic_auth=[person(words=HARD), person("eve")]),
                site("/a/", headers={"x-frame-options": "", "Content-Security-Policy": "default-src 'self'", "X-A": 0}),
            ],
            "nginx_proxy_hsts_max_age_s": 300,
        },
        "",
    ),
    "programs": (
        programs(
            login_path="/app/index.php", api_path="/app/api.php", allow_cidrs=["192.0.2.0/24"], max_body_size="16m"
        ),
        "",
    ),
    # nginx takes these, and warns of the first two: their low address bits are meaningless.
    "networks": ({"nginx_proxy_allow_cidrs": ["10.0.0.1/8", "2001:DB8::1/32", "::ffff:192.0.2.1", "0.0.0.0/0"]}, ""),
    "everything-behind-one": (sites(site("/")), ""),
    "loopback": ({"nginx_proxy_server_names": ["rig", "localhost", "127.0.0.1", "::1"]}, ""),
    "nothing": ({}, ""),
}


# As tasks/front.yml and tasks/verify.yml pass them to the modules.
PASSED = "{{ [__nginx_proxy_password_files | from_json, __nginx_proxy_asked_sites | from_json] | to_json }}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the role said to each value, and what it would have nginx read."""
    directory = tmp_path_factory.mktemp("values")
    hosts = {name: variables for name, (variables, _words) in VALUES.items()}
    rules = rules_of("nginx_proxy")
    text = f"{{{{ lookup('ansible.builtin.template', '{collections_path()}/{TEMPLATE}') }}}}"
    show = {"ansible.builtin.debug": {"msg": text}}
    passed = {"ansible.builtin.debug": {"msg": PASSED}, "name": "Pass on"}
    found: dict[str, dict[str, str]] = {name: {} for name in VALUES}
    for task, host, result in results(directory, hosts, [rules, show, passed]):
        if task == "Pass on" and not result.get("failed"):
            found[host]["passed"] = result["msg"]
        elif "msg" in result and "Refuse values" in task and result.get("failed"):
            found[host]["said"] = result["msg"]
        elif "listen 443" in result.get("msg", ""):
            found[host]["text"] = result["msg"]
    return found


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if words])
def test_a_bad_value_is_refused_in_one_sentence(run: dict[str, dict[str, str]], name: str) -> None:
    assert VALUES[name][1] in run[name].get("said", "")
    assert "text" not in run[name]


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if not words])
def test_a_good_value_passes(run: dict[str, dict[str, str]], name: str) -> None:
    assert "said" not in run[name]
    assert "text" in run[name]


def test_addresses_make_the_front_the_default_and_loopback_does_not(run: dict[str, dict[str, str]]) -> None:
    assert "server_name 192.0.2.1 [2001:db8::1] rig-1.example.org my_rig;" in run["good"]["text"]
    assert "listen 443 ssl default_server;" in run["good"]["text"]
    assert "server_name rig localhost 127.0.0.1 [::1];" in run["loopback"]["text"]
    assert "default_server" not in run["loopback"]["text"]


def test_a_sites_own_list_replaces_the_common_one(run: dict[str, dict[str, str]]) -> None:
    text = run["good"]["text"]
    locations = {part.split(" {")[0]: part for part in text.split("location ")[1:]}
    assert "allow 192.0.2.7; allow 2001:db8::/32; deny all;" in locations["= /"]
    assert "allow 192.0.2.7; allow 2001:db8::/32; deny all;" in locations["= /jupyter/ada/login"]
    assert "allow ::1; allow 10.0.0.0/8; deny all;" in locations["/jupyter/ada.b@c/"]
    assert "deny" not in locations["/Jupyter/ada/"]


def test_a_name_of_a_sites_own_is_a_server_of_its_own(run: dict[str, dict[str, str]]) -> None:
    _maps, *servers = run["named"]["text"].split("server {")
    _stranger, front, board, other, _redirect = servers
    assert "server_name rig 192.0.2.1;" in front and "location /a/" in front and "6006" not in front
    assert "server_name board.example.org;" in board and "location / {" in board and "location /x/" in board
    assert "server_name b.example.org;" in other and "location / {" in other and "location /x/" not in other


def test_passwords_are_asked_for_by_hash_and_not_passed_on(run: dict[str, dict[str, str]]) -> None:
    text = run["named"]["text"]
    assert text.count("auth_basic_user_file /etc/dlhost/nginx_proxy/passwords/board.example.org=x=;") == 1
    assert "limit_req zone=dlhost_asked" in text.split("location /x/")[1].split("}")[0]
    assert "of the tests" not in text


def test_a_password_arrives_as_it_was_chosen(run: dict[str, dict[str, str]]) -> None:
    passwords, asked = json.loads(run["named"]["passed"])

    assert [user["password"] for file in passwords for user in file["users"]] == [HARD, "of the tests"]
    assert HARD in [each["password"] for each in asked]


def test_a_header_of_a_sites_own_leaves_the_others(run: dict[str, dict[str, str]]) -> None:
    text = run["named"]["text"].split("location /a/ {")[1].split("}")[0]
    assert "add_header Content-Security-Policy \"default-src 'self'\" always;" in text
    assert 'add_header X-Content-Type-Options "nosniff" always;' in text
    assert 'add_header X-A "0" always;' in text
    assert "proxy_hide_header X-Frame-Options;" in text and "add_header X-Frame-Options" not in text


def test_browsers_are_told_to_keep_to_https_once_they_trust_the_certificate(run: dict[str, dict[str, str]]) -> None:
    assert 'add_header Strict-Transport-Security "max-age=300" always;' in run["good"]["text"]
    for name in ("named", "nothing"):
        assert "add_header Strict-Transport-Security" not in run[name]["text"]
        assert "proxy_hide_header Strict-Transport-Security;" in run[name]["text"]


def test_one_site_gets_the_start_page_and_may_be_all_there_is(run: dict[str, dict[str, str]]) -> None:
    assert "location = / {" not in run["everything-behind-one"]["text"]
    assert run["everything-behind-one"]["text"].count("location / {") == 2  # and the redirect of port 80
    assert "try_files /index.html" in run["nothing"]["text"]


def test_programs_are_run_and_what_they_read_is_not_served(run: dict[str, dict[str, str]]) -> None:
    """That nginx takes it so, and what it then serves, is molecule's matter."""
    text = run["programs"]["text"]
    assert text.count("fastcgi_pass unix:/run/app.sock;") == 3
    assert "location = /app/api.php {\n            limit_req zone=dlhost_asked" in text
    assert "location = /app/index.php {\n            limit_req zone=dlhost_login" in text
    # Roles log in to programs of their host on it.
    admitted = "allow 127.0.0.1; allow ::1; allow 192.0.2.0/24; deny all;"
    assert f"{admitted}\n        client_max_body_size 16m;\n        alias /usr/share/app/;" in text
