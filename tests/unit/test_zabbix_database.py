"""Zabbix' database, with a psql that remembers: what it is asked, what it is told, and that a cut import is none."""

from __future__ import annotations

import ctypes.util
import gzip
import importlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

MODULE = "ansible_collections.dlhost.host.plugins.module_utils.zabbix_database"
PASSWORD = "horse/battery"  # noqa: S105
SETTINGS = {"hk_history": "31d", "hk_history_global": 1}
needs_libcrypt = pytest.mark.skipif(not ctypes.util.find_library("crypt"), reason="this machine has no libcrypt")


class Psql:
    """Answers by account; what has no answer cannot connect."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.scripts: list[tuple[str, str, str]] = []

    def run(self, *command: str, given: str = "", **_more: Any) -> subprocess.CompletedProcess[str]:
        account = command[1].removeprefix("--reuid=")
        self.scripts.append((account, command[-1].removeprefix("--dbname="), given))
        code, out, err = self.answers.get(account, (2, "", 'psql: error: FATAL:  role "x" does not exist'))
        return subprocess.CompletedProcess(command, code, out, err)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(MODULE)


@pytest.fixture
def psql(database: Any, monkeypatch: pytest.MonkeyPatch) -> Psql:
    double = Psql()
    monkeypatch.setattr(database, "run", double.run)
    monkeypatch.setattr(database, "has_account", lambda _name: True)
    monkeypatch.setattr(database.shutil, "which", lambda name: f"/usr/bin/{name}")
    return double


@pytest.fixture
def wish(database: Any) -> Any:
    return database.Wish("Made by dlhost.", PASSWORD, SETTINGS)


def answer(**found: object) -> tuple[int, str, str]:
    return 0, json.dumps(found), ""


def test_one_question_tells_all_of_a_database_of_ours(database: Any, psql: Psql, wish: Any) -> None:
    psql.answers["zabbix"] = answer(kind="ours", admin="$2y$", guest_is_shut_out=True, settings=SETTINGS)
    assert database.look(wish) == database.Found("ours", "", "$2y$", True, SETTINGS)
    assert [script[:2] for script in psql.scripts] == [("zabbix", "zabbix")]
    assert "\\set columns 'hk_history, hk_history_global'" in psql.scripts[0][2]


def test_without_a_database_there_is_none(database: Any, psql: Psql, wish: Any) -> None:
    psql.answers["postgres"] = (0, "", "")
    assert database.look(wish).kind == "absent"


def test_a_database_of_another_owner_is_somebody_elses(database: Any, psql: Psql, wish: Any) -> None:
    psql.answers["postgres"] = (0, "ada\n", "")
    assert database.look(wish).kind == "foreign"


def test_without_any_postgresql_there_is_none(
    database: Any, psql: Psql, wish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "has_account", lambda _name: False)
    assert database.look(wish).kind == "absent"
    assert psql.scripts == []


def test_a_host_with_an_agent_and_no_postgresql_has_no_database(
    database: Any, psql: Psql, wish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    psql.answers["zabbix"] = (127, "", "setpriv: failed to execute psql: No such file or directory")
    monkeypatch.setattr(database.shutil, "which", lambda _name: None)
    assert database.look(wish).kind == "absent"


def test_a_postgresql_that_is_down_is_told_from_one_without_the_database(database: Any, psql: Psql, wish: Any) -> None:
    no_server = 'psql: error: connection to server on socket "x" failed: No such file or directory\n\tIs it running?'
    psql.answers = dict.fromkeys(("zabbix", "postgres"), (2, "", no_server))
    found = database.look(wish)
    assert (found.kind, found.why) == (
        "down",
        'connection to server on socket "x" failed: No such file or directory',
    )


def test_who_is_kept_out_of_the_own_database_is_told_why(database: Any, psql: Psql, wish: Any) -> None:
    rejected = 'psql: error: connection to server on socket "x" failed: FATAL:  pg_hba.conf rejects connection'
    psql.answers = {"zabbix": (2, "", rejected), "postgres": (0, "zabbix\n", "")}
    with pytest.raises(database.RefusedError, match=r"local socket: pg_hba.conf rejects connection\. pg_hba.conf has"):
        database.look(wish)


def test_a_database_without_its_account_is_asked_by_the_administrator(
    database: Any, wish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "has_account", lambda name: name == "postgres")
    monkeypatch.setattr(database.shutil, "which", lambda name: f"/usr/bin/{name}")
    answers = iter([(0, "zabbix\n", ""), answer(kind="empty")])
    monkeypatch.setattr(database, "run", lambda *words, **_more: subprocess.CompletedProcess(words, *next(answers)))
    assert database.look(wish).kind == "empty"


@needs_libcrypt
def test_the_import_is_one_transaction_with_the_password_in_it(
    database: Any, psql: Psql, wish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    psql.answers["zabbix"] = (0, "", "")
    for name, text in {"schema": "CREATE 1;\n", "data": "START TRANSACTION;\nINSERT 'COMMIT;';\nCOMMIT;\n"}.items():
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(database, "SOURCES", [tmp_path / "schema", tmp_path / "data"])
    database.fill(wish)
    (account, _database, script), *others = psql.scripts
    lines = [line for line in script.splitlines() if line]
    assert (account, others) == ("zabbix", [])
    assert lines[:3] == ["BEGIN;", "CREATE 1;", "INSERT 'COMMIT;';"]
    # Whatever is cut off the end, nobody has committed.
    assert lines[-2:] == ["COMMENT ON TABLE dbversion IS :'mark';", "COMMIT;"]
    assert script.count("\nCOMMIT;") == 1
    assert "START TRANSACTION" not in script
    assert PASSWORD not in script
    found = next(line.split("'")[1] for line in lines if line.startswith("\\set hash"))
    assert database.is_of(PASSWORD, found)


def change_of(*names: str) -> Callable[[Any, Any], None]:
    def act(database: Any, wish: Any) -> None:
        database.change(wish, admin="admin" in names, guest="guest" in names, settings=["hk_history"])

    return act


@needs_libcrypt
@pytest.mark.parametrize(
    ("act", "has", "has_not"),
    [
        (change_of("admin"), ["UPDATE users SET", "DELETE FROM sessions", "\\set value '31d'"], ["usrgrpid"]),
        (change_of("guest"), ["UPDATE users_groups"], ["DELETE FROM sessions", "\\set hash"]),
    ],
)
def test_only_what_differs_is_set(
    database: Any, psql: Psql, wish: Any, act: Callable[[Any, Any], None], has: list[str], has_not: list[str]
) -> None:
    psql.answers["zabbix"] = (0, "", "")
    act(database, wish)
    script = psql.scripts[0][2]
    assert all(text in script for text in has)
    assert not any(text in script for text in has_not)
    assert "hk_history_global" not in script


def test_what_postgresql_refuses_is_said_in_its_words(database: Any, psql: Psql, wish: Any) -> None:
    psql.answers["zabbix"] = (3, "", 'psql:<stdin>:7: ERROR:  relation "users" does not exist\nLINE 1: x')
    with pytest.raises(database.RefusedError, match=r'needs: relation "users" does not exist\. Mend'):
        database.change(wish, admin=False, guest=True, settings=[])


@needs_libcrypt
@pytest.mark.parametrize(
    ("password", "found", "right"),
    [
        # The hash that Zabbix brings.
        ("zabbix", "$2y$10$92nDno4n0Zm7Ej7Jfsz8WukBfgSS/U0QkIuu8WkJPihXBb2A1UrEK", True),
        ("zabbiy", "$2y$10$92nDno4n0Zm7Ej7Jfsz8WukBfgSS/U0QkIuu8WkJPihXBb2A1UrEK", False),
        ("zabbix", "", False),
        ("zabbix", None, False),
        ("zabbix", "5fce1b3e34b520afeffb37ce08c7cd66", False),
    ],
)
def test_hashes_are_those_of_the_frontend(database: Any, password: str, found: str | None, *, right: bool) -> None:
    assert database.is_of(password, found) is right


@needs_libcrypt
def test_no_two_hashes_are_alike(database: Any) -> None:
    first, second = database.bcrypt(PASSWORD), database.bcrypt(PASSWORD)
    assert first != second
    assert first.startswith("$2y$10$")
    assert len(first) == len(second) == 60


@pytest.mark.parametrize(("value", "line"), [("it's", "'it''s'"), ("a\\b", "'a\\\\b'"), (31, "'31'")])
def test_values_reach_psql_as_they_are(database: Any, value: object, line: str) -> None:
    assert database.variable("x", value) == f"\\set x {line}\n"
