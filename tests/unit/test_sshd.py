"""What sshd reads and what an account needs to log in, as values in and values out."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils import sshd

MAIN = sshd.MAIN
DROP_INS = Path("/etc/ssh/sshd_config.d")


def configured(main: str, **files: str) -> sshd.Configuration:
    return sshd.Configuration({MAIN: main, **{DROP_INS / name.replace("_", "."): text for name, text in files.items()}})


def test_lines_come_in_the_order_in_which_sshd_reads_them() -> None:
    configuration = configured(
        "# top\nPort 22\nInclude /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n",
        b_conf="permitrootlogin=no\n",
        a_conf="  PasswordAuthentication   yes # no\n",
        a_bak="Port 99\n",
    )
    assert [(line.place, line.keyword) for line in configuration.lines()] == [
        (f"{MAIN} line 2", "port"),
        (f"{DROP_INS}/a.conf line 1", "passwordauthentication"),
        (f"{DROP_INS}/b.conf line 1", "permitrootlogin"),
        (f"{MAIN} line 4", "usepam"),
    ]


def test_a_copy_keeps_line_numbers_and_reads_copies(tmp_path: Path) -> None:
    configuration = configured("Port 22\nInclude sshd_config.d/*.conf\nUsePAM yes\n", a_conf="LogLevel INFO\n")
    copies = configuration.shadow(tmp_path)
    assert copies[MAIN].read_text() == f"Port 22\nInclude {copies[DROP_INS / 'a.conf']}\nUsePAM yes\n"
    assert configured("Include none/*\n").shadow(tmp_path)[MAIN].read_text() == "\n"


@pytest.mark.parametrize(
    ("main", "reads"),
    [
        ("Include /etc/ssh/sshd_config.d/*.conf\n", True),
        ("Include sshd_config.d/*.conf\n", True),
        ("#Include /etc/ssh/sshd_config.d/*.conf\n", False),
        ("Match User a\n  Include /etc/ssh/sshd_config.d/*.conf\n", False),
        ("", False),
    ],
)
def test_the_main_file_reads_drop_ins_only_outside_of_match(main: str, reads: bool) -> None:
    assert configured(main).reads_drop_ins() is reads


def test_promises_are_what_a_file_names_for_the_user() -> None:
    text = "X11Forwarding no\nMatch User alice\nX11Forwarding yes\nX11DisplayOffset 10\nMatch User bob\nBanner /b\n"
    assert sshd.promised_keywords([text], "alice") == {"x11forwarding", "x11displayoffset"}
    assert sshd.promised_keywords([text], "carol") == {"x11forwarding"}


def test_ports_count_as_sshd_listens() -> None:
    output = "port 22\nlistenaddress [::]:2222\nlistenaddress 0.0.0.0:2222\nlistenaddress 10.0.0.1:22\n"
    assert sshd.parse_effective(output)["listenport"] == ["22", "2222"]
    drop_in = "[Socket]\nListenStream=\nListenStream=2222\nListenStream=[::1]:2223\n"
    assert sshd.stream_ports(["[Socket]\nListenStream=22\n", drop_in]) == [2222, 2223]


def test_the_line_to_remove_is_the_last_that_gives_the_value() -> None:
    """A stand-in for sshd: the first value in reading order, as a real one was seen to judge."""

    def evaluate(configuration: sshd.Configuration) -> sshd.Effective:
        effective: sshd.Effective = {}
        for line in configuration.lines():
            effective.setdefault(line.keyword, [line.value])
        return effective

    own = DROP_INS / "10.conf"
    configuration = sshd.Configuration(
        {
            MAIN: "Include /etc/ssh/sshd_config.d/*.conf\n",
            DROP_INS / "01.conf": "UsePAM yes\nPasswordAuthentication yes\n",
            own: "PasswordAuthentication no\n",
        }
    )
    conflicts = sshd.find_conflicts("alice", {"passwordauthentication": ["no"]}, configuration, [own], evaluate)
    assert [str(conflict) for conflict in conflicts] == [
        f"passwordauthentication yes for alice comes from {DROP_INS}/01.conf line 2"
    ]
    assert sshd.find_conflicts("alice", {"usepam": ["yes"]}, configuration, [own], evaluate) == []


def for_all(configuration: sshd.Configuration) -> sshd.Effective:
    """A stand-in for sshd where `Match all` is the only block: it wins over what stands outside of blocks."""
    effective: sshd.Effective = {}
    for line in sorted(configuration.lines(), key=lambda line: not line.match):
        effective.setdefault(line.keyword, [line.value])
    return effective


@pytest.mark.parametrize(
    ("match", "setting", "found"),
    [
        ("Group sftponly", "PasswordAuthentication yes", True),
        ("Address 10.0.0.0/8", "PasswordAuthentication yes", True),
        ("User alice,b*", "PasswordAuthentication yes", True),
        ("User alice Address 10.0.0.0/8", "PasswordAuthentication yes", True),
        ("Group sftponly", "ChallengeResponseAuthentication yes", True),
        ("Group sftponly", "X11UseLocalhost no", True),
        # sshd itself is asked about an account that is named.
        ("User alice,bob", "PasswordAuthentication yes", False),
        # What everybody gets, what nobody is promised, and what forbids more.
        ("Group sftponly", "PasswordAuthentication no", False),
        ("Group sftponly", "ChrootDirectory /srv", False),
        ("Group sftponly", "AllowTcpForwarding no", False),
    ],
)
def test_a_foreign_match_block_may_not_undo_a_promise(match: str, setting: str, found: bool) -> None:
    promise = (
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nX11UseLocalhost yes\nAllowTcpForwarding local\n"
    )
    own = {DROP_INS / "00.conf": promise, DROP_INS / "01.conf": "Match User bob\nBanner /b\n"}
    configuration = sshd.Configuration(
        {
            MAIN: f"Include {DROP_INS}/*.conf\n",
            **own,
            DROP_INS / "50.conf": f"Match {match}\n  Include more/*\n",
            Path("/etc/ssh/more/a"): f"{setting}\n",
        }
    )

    def judge(candidate: sshd.Configuration) -> sshd.Effective:
        effective = for_all(candidate)
        old = effective.get("challengeresponseauthentication")
        return effective | ({"kbdinteractiveauthentication": old} if old else {})

    places = [conflict.place for conflict in sshd.find_exceptions(configuration, own, {}, judge)]
    assert places == (["/etc/ssh/more/a line 1"] if found else [])


def test_accounts_of_match_lines() -> None:
    configuration = configured(
        "Match User alice,b* Address 10.0.0.0/8\nMatch Group g\nMatch Address 1.1.1.1 User carol\n"
    )
    assert sshd.matched_users(configuration) == {"alice", "carol"}


@pytest.mark.parametrize(
    ("effective", "reason"),
    [
        ({}, ""),
        ({"allowusers": ["bob", "ali*@10.*"]}, ""),
        ({"allowusers": ["bob"]}, "AllowUsers bob"),
        ({"denyusers": ["alice"]}, "DenyUsers alice"),
        ({"allowgroups": ["wheel"]}, "AllowGroups wheel"),
        ({"denygroups": ["staff"]}, "DenyGroups staff"),
        ({"pubkeyauthentication": ["no"]}, "PubkeyAuthentication no"),
        ({"permitrootlogin": ["no"]}, ""),
    ],
)
def test_who_is_shut_out(effective: sshd.Effective, reason: str) -> None:
    assert sshd.may_log_in("alice", ["alice", "staff"], effective) == reason


def test_root_needs_permission() -> None:
    assert sshd.may_log_in("root", ["root"], {"permitrootlogin": ["no"]}) == "PermitRootLogin no"
    assert sshd.may_log_in("root", ["root"], {"permitrootlogin": ["without-password"]}) == ""


def test_key_files_are_expanded_as_sshd_does() -> None:
    effective = {"authorizedkeysfile": [".ssh/authorized_keys /etc/keys/%u %h/k%%"]}
    files = sshd.key_files(effective, "alice", "/home/alice", 1000)
    assert files == [Path("/home/alice/.ssh/authorized_keys"), Path("/etc/keys/alice"), Path("/home/alice/k%")]
    assert sshd.key_files({"authorizedkeysfile": ["none"]}, "alice", "/home/alice", 1000) == []


A = "ssh-ed25519 AAAAC3Nza alice@laptop"
B = 'from="10.0.0.0/8",command="ls ssh" ssh-rsa AAAAB3Nza bob'


@pytest.mark.parametrize(
    ("text", "keys", "exclusive", "result"),
    [
        ("", [A], False, f"{A}\n"),
        (f"# mine\n{A}", [B], False, f"# mine\n{A}\n{B}\n"),
        ("ssh-ed25519 AAAAC3Nza other comment\n", [A], False, "ssh-ed25519 AAAAC3Nza other comment\n"),
        (f"{A}\n{B}\n", [A], True, f"{A}\n"),
        (f"# mine\n{A}\n", [A], True, f"# mine\n{A}\n"),
        (f"#{A}\n", [A], False, f"#{A}\n{A}\n"),
    ],
)
def test_keys_are_merged_by_what_they_are(text: str, keys: list[str], exclusive: bool, result: str) -> None:
    assert sshd.merge_keys(text, keys, exclusive) == result
