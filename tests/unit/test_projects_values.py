"""Values that role projects refuses before any of them reaches a host: one run, in which each has a host of its own."""

from __future__ import annotations

import pytest

from tests.unit.plays import refusals

SECRET = "ghp_s3cret"  # noqa: S105
HOLDS = "An address in projects_users holds a password or token"
NONE = "is no address of a repository"
# Each an address, and the words that refuse it.
ADDRESSES = {
    "token": (f"https://{SECRET}@h/a", HOLDS),
    "token-capitals": (f"HTTPS://{SECRET}@h/a", HOLDS),
    "token-space": (f"https://{SECRET}@h/a b", HOLDS),
    "token-lines": (f"\nhttps://{SECRET}@h/a", f"***@h/a {NONE}"),
    "password": (f"https://x:{SECRET}@h/a", HOLDS),
    "password-other-scheme": (f"git://x:{SECRET}@h/a", HOLDS),
    "password-ssh": (f"ssh://git:{SECRET}@h/a", HOLDS),
    "password-with-at": (f"ssh://{SECRET}@git@h/a", HOLDS),
    "password-no-scheme": (f"git:{SECRET}@h:a", f"***@h:a {NONE}"),
    "query": (f"https://h/a.git?Access_Token={SECRET}", HOLDS),
    "query-later": (f"https://h/a.git?x=1&private_token={SECRET}", HOLDS),
    "query-of-none": (f"httpx://h/a.git?x={SECRET}", f"httpx://h/a.git?*** {NONE}"),
    "command": ("ext::sh -c id", f"ext::sh -c id {NONE}"),
    "good-https": ("https://h/a@b.git", ""),
    "good-ssh": ("ssh://git@h:22/a", ""),
    "good-short": ("git@h:a/b.git", ""),
    "good-path": ("/srv/git/a", ""),
    "good-query": ("https://h/?p=a.git", ""),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role said to each; nothing to a good one."""
    hosts = {
        name: {"projects_users": [{"name": "ada", "repositories": [{"url": url}]}]}
        for name, (url, _words) in ADDRESSES.items()
    }
    return refusals(tmp_path_factory.mktemp("values"), "projects", hosts)


@pytest.mark.parametrize("name", [name for name, (_url, words) in ADDRESSES.items() if words])
def test_a_bad_address_is_refused_and_its_secret_not_told(said: dict[str, str], name: str) -> None:
    assert ADDRESSES[name][1] in said[name]
    assert SECRET not in said[name]


def test_a_good_address_passes(said: dict[str, str]) -> None:
    assert said.keys() == {name for name, (_url, words) in ADDRESSES.items() if words}
