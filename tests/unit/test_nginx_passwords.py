"""Password files of nginx, with this machine's crypt(3)."""

from __future__ import annotations

import subprocess

import pytest

from plugins.module_utils import nginx_passwords

PEOPLE = [("ada", "of the front door"), ("grace", "à elle")]


def test_a_hash_is_one_that_others_make_of_the_password_too() -> None:
    text = nginx_passwords.lines(PEOPLE, "")

    for line, (name, password) in zip(text.splitlines(), PEOPLE, strict=True):
        found, _colon, hashed = line.partition(":")
        _empty, method, salt, _rest = hashed.split("$")
        made = subprocess.run(
            ["openssl", "passwd", f"-{method}", "-salt", salt, "-stdin"],
            input=password,
            capture_output=True,
            text=True,
            check=True,
        )
        assert (found, hashed) == (name, made.stdout.strip())


def test_a_line_stays_as_long_as_its_password_does() -> None:
    text = nginx_passwords.lines(PEOPLE, "")
    assert nginx_passwords.lines(PEOPLE, text) == text
    assert nginx_passwords.lines(PEOPLE, f"# edited\n{text}eve:x\n") == text
    assert nginx_passwords.lines(PEOPLE[1:], text) == text.splitlines(keepends=True)[1]

    ada, grace = nginx_passwords.lines([("ada", "another"), PEOPLE[1]], text).splitlines(keepends=True)
    assert ada not in text and grace in text
    # The same word of two people is not to be seen as the same.
    one, other = nginx_passwords.lines([("ada", "shared"), ("eve", "shared")], "").splitlines()
    assert one.partition(":")[2] != other.partition(":")[2]


@pytest.mark.parametrize("found", ["of the front door", "{PLAIN}of the front door", "$1$x$y", "*", ""])
def test_a_line_that_protects_less_does_not_stay(found: str) -> None:
    assert nginx_passwords.lines(PEOPLE[:1], f"ada:{found}\n").startswith("ada:$6$")


def test_a_weaker_hash_of_the_right_password_does_not_stay() -> None:
    made = subprocess.run(
        ["openssl", "passwd", "-1", "-stdin"], input="shared", capture_output=True, text=True, check=True
    )
    assert nginx_passwords.lines([("ada", "shared")], f"ada:{made.stdout}").startswith("ada:$6$")


def test_what_cannot_be_hashed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(nginx_passwords.PasswordError, match=r"password of ada\. Choose a shorter one"):
        nginx_passwords.lines([("ada", "x" * 1000)], "")
    monkeypatch.setattr(nginx_passwords, "LIBRARY", "libnowhere.so.1")
    with pytest.raises(nginx_passwords.PasswordError, match=r"libnowhere\.so\.1: cannot open"):
        nginx_passwords.lines(PEOPLE, "")
