"""What nginx reads, as texts in and values out."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils import nginx_text

SITE = """\
# { not a block
map $http_upgrade $dlhost_connection { default upgrade; '' close; }
server {
    listen 443 ssl default_server; listen [::]:443 ssl default_server;
    http2 on;
    server_name "rig.example.org" 'RIG.lan' # ; {
        192.0.2.1;
    location ~ ^/a{2}\\}${host}x$ { return 200 "} server { listen 9; }"; }
}
server { server_name plain.example.org; }
upstream u { server 127.0.0.1:8; }
"""


def test_servers_are_found_whatever_is_quoted_or_commented() -> None:
    first, second = nginx_text.servers(SITE)

    assert first.ports == {443}
    assert first.names == {"rig.example.org", "rig.lan", "192.0.2.1"}
    assert first.is_default_on(443) and not first.is_default_on(80)
    assert second.ports == {80}
    assert second.names == {"plain.example.org"}


def test_directives_know_the_blocks_around_them() -> None:
    text = "user www-data; http { include a/*; server { listen 80; location / { deny all; } } }"
    assert [(blocks[-1:] and blocks[-1].split()[0], words) for blocks, words in nginx_text.directives(text)] == [
        ((), ("user", "www-data")),
        ("http", ("include", "a/*")),
        ("server", ("listen", "80")),
        ("location", ("deny", "all")),
    ]


@pytest.mark.parametrize(
    ("listen", "port"),
    [
        ("443", 443),
        ("*:443", 443),
        ("[::]:443", 443),
        ("[::1]", 80),
        ("192.0.2.1", 80),
        ("rig:8443", 8443),
        ("unix:/run/x:443", 0),
    ],
)
def test_a_port_is_read_as_nginx_reads_it(listen: str, port: int) -> None:
    assert nginx_text.servers(f"server {{ listen {listen} ssl; }}")[0].ports == {port}


def test_a_name_is_taken_only_on_the_same_port() -> None:
    files = {
        Path("/a"): "server { listen 443; server_name other.example.org *.example.org; }",
        Path("/b"): "server { listen 8443; server_name rig.example.org; }",
    }
    assert nginx_text.taken_name(files, ["rig.example.org"], [443, 80]) is None
    files[Path("/c")] = "http { server { listen 80; listen [::]:443 ssl; server_name x RIG.example.org; } }"
    assert nginx_text.taken_name(files, ["x.y", "Rig.Example.Org"], [443, 80]) == (Path("/c"), "rig.example.org", 443)
    assert nginx_text.taken_name(files, ["rig.example.org"], [80]) == (Path("/c"), "rig.example.org", 80)
    below = {Path("/d"): "server { server_name .Example.org; }"}
    assert nginx_text.taken_name(below, ["rig.example.org"], [80]) is None
    assert nginx_text.taken_name(below, ["example.org"], [80]) == (Path("/d"), "example.org", 80)


@pytest.mark.parametrize(("version", "modern"), [((1, 18, 0), False), ((1, 25, 0), False), ((1, 25, 1), True)])
def test_http2_is_asked_for_in_the_words_of_the_version(version: tuple[int, ...], modern: bool) -> None:
    text = "server {\n    listen 443 ssl;\n    http2 on;\n}\nserver {\n    listen 80;\n}\n"
    old = "server {\n    listen 443 ssl http2;\n}\nserver {\n    listen 80;\n}\n"
    assert nginx_text.written_for(text, version, ipv6=True) == (text if modern else old)


def test_a_host_without_ipv6_listens_on_none() -> None:
    text = "server {\n    listen 443 ssl;\n    listen [::]:443 ssl;\n}\n"
    assert nginx_text.written_for(text, (2,), ipv6=False) == "server {\n    listen 443 ssl;\n}\n"
    assert nginx_text.written_for(text, (2,), ipv6=True) == text


def test_a_revision_stays_only_while_the_rest_does() -> None:
    word = "0123456789abcdef" * 2
    found = f"a; return 200 {word}; b;"
    assert nginx_text.revision_in(found, "a; return 200 @revision@; b;") == word
    for other in ("a; return 200 @revision@; c;", "x; return 200 @revision@; b;", "a; return 200 @revision@"):
        assert nginx_text.revision_in(found, other) == ""
    assert nginx_text.revision_in("a; return 200 edited; b;", "a; return 200 @revision@; b;") == ""
    assert nginx_text.revision_in("", "a @revision@ a") == ""


def test_a_staged_main_file_reads_ours_in_the_place_of_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("default", "other", "zzz"):
        (tmp_path / "sites-enabled").mkdir(exist_ok=True)
        (tmp_path / "sites-enabled" / name).touch()
    enabled = tmp_path / "sites-enabled"
    monkeypatch.setattr(nginx_text, "TREE", tmp_path)
    link, default = enabled / "zz-dlhost.conf", enabled / "default"
    main = (
        f"include mime.types;\nhttp {{ include {tmp_path}/conf.d/*.conf; include sites-enabled/*; }}\n# include x/*;\n"
    )

    staged = nginx_text.staged_main(main, {link: Path("/run/staged"), default: None})
    ours = f"include {enabled}/other; include /run/staged; include {enabled}/zzz;"
    assert staged == f"include mime.types;\nhttp {{ include {tmp_path}/conf.d/*.conf; {ours} }}\n# include x/*;\n"
    # It is to go, and is there.
    link.touch()
    assert "zz-dlhost" not in str(nginx_text.staged_main(main, {link: None}))
    assert nginx_text.staged_main("http { include conf.d/*; # include sites-enabled/*;\n}", {link: None}) is None


def test_a_dump_is_told_apart_by_file() -> None:
    output = "# configuration file /etc/nginx/nginx.conf:\nuser a;\n\n# configuration file /x y:\nserver {}\n"
    assert nginx_text.dumped_files(output) == {
        Path("/etc/nginx/nginx.conf"): "user a;\n\n",
        Path("/x y"): "server {}\n",
    }
