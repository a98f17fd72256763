# SPDX-License-Identifier: GPL-3.0-or-later
"""Zabbix' database in the host's own PostgreSQL, asked through the local socket, where the account tells who asks."""

from __future__ import annotations

import ctypes
import dataclasses
import gzip
import hmac
import json
import pwd
import re
import secrets
import shutil
import string
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.service_host import AGAIN, RefusedError

NAME = OWNER = "zabbix"
SUPERUSER = "postgres"
# What Zabbix brings for a new database, in this order.
SOURCES = [Path(f"/usr/share/zabbix-server-pgsql/{part}.sql.gz") for part in ("schema", "images", "data")]
BEGIN, COMMIT = "BEGIN;", "COMMIT;"
CANNOT_CONNECT = 2  # As psql ends.
BCRYPT = "$2y$10$"
BCRYPT_LETTERS = f"./{string.ascii_letters}{string.digits}"
BCRYPT_LAST_LETTERS = ".Oeu"  # The last of 22 letters holds the last 2 of 128 bits.

# A database whose table dbversion has this comment is ours, and one without anything in any schema is empty.
LOOK = """
SELECT count(*) AS relations,
  coalesce(obj_description(to_regclass('public.dbversion'), 'pg_class') = :'mark', false) AS ours
  FROM pg_catalog.pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema$)' \\gset
\\if :ours
SELECT json_build_object(
  'kind', 'ours',
  'admin', (SELECT passwd FROM public.users WHERE username = 'Admin'),
  'guest_is_shut_out', NOT EXISTS (SELECT FROM public.users u WHERE username = 'guest' AND NOT EXISTS (
    SELECT FROM public.users_groups m JOIN public.usrgrp g USING (usrgrpid)
    WHERE m.userid = u.userid AND users_status = 1)),
  'settings', (SELECT row_to_json(c) FROM (SELECT :columns FROM public.config) c));
\\else
SELECT json_build_object('kind', CASE :relations WHEN 0 THEN 'empty' ELSE 'foreign' END);
\\endif
"""
OWNER_OF = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'zabbix';"
NEW_ROLE = """
DO $$BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'zabbix') THEN CREATE ROLE zabbix LOGIN; END IF;
END$$;
"""
GONE = """
DROP DATABASE zabbix;
DROP ROLE IF EXISTS zabbix;
"""
NEW_SETTING = "UPDATE config SET :column = :'value';\n"
# Who came in by another password is out.
NEW_HASH = """
UPDATE users SET passwd = :'hash', attempt_failed = 0 WHERE username = 'Admin';
DELETE FROM sessions WHERE userid = (SELECT userid FROM users WHERE username = 'Admin');
"""
# A membership is changed, since the number of a new one is the frontend's to give.
NO_GUESTS = """
UPDATE users_groups SET usrgrpid = (SELECT usrgrpid FROM usrgrp WHERE users_status = 1 ORDER BY 1 LIMIT 1)
  WHERE id = (SELECT min(id) FROM users_groups JOIN users USING (userid) WHERE username = 'guest')
  AND NOT EXISTS (SELECT FROM users_groups JOIN users USING (userid) JOIN usrgrp USING (usrgrpid)
    WHERE username = 'guest' AND users_status = 1);
"""
# What the data brings for the server's own host asks an agent that listens, and those of dlhost do not. What the server
# knows of itself stays.
QUIET = """
UPDATE items SET status = 1 WHERE (type = 0 OR key_ LIKE 'zabbix[host,agent,%')
  AND hostid IN (SELECT hostid FROM hosts WHERE host = 'Zabbix server');
"""
OURS = "COMMENT ON TABLE dbversion IS :'mark';\n"


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the database is to hold; `settings` are columns of table config."""

    mark: str
    password: str
    settings: dict[str, object]


@dataclasses.dataclass(frozen=True)
class Found:
    """The database as it is: absent, empty, ours, foreign, or down where PostgreSQL does not answer, and `why`."""

    kind: str
    why: str = ""
    admin: str | None = None
    guest_is_shut_out: bool = True
    settings: dict[str, object] = dataclasses.field(default_factory=dict)


def look(wish: Wish) -> Found:
    """The database as it is now.

    Raises:
        RefusedError: PostgreSQL runs and does not let Zabbix in.
    """
    # Accounts are older than that: every agent of Zabbix brings its own.
    if not shutil.which("psql"):
        return Found("absent")
    question = variable("mark", wish.mark) + variable("columns", ", ".join(wish.settings)) + LOOK
    said = ""
    if has_account(OWNER):
        asked = psql(OWNER, NAME, question)
        if asked.returncode == 0:
            return Found(**json.loads(asked.stdout))
        said = words(asked.stderr)
        if asked.returncode != CANNOT_CONNECT:
            raise RefusedError(f"Zabbix' database cannot be read: {said}. Mend it {AGAIN}")
    if not has_account(SUPERUSER):
        return Found("absent")
    listed = psql(SUPERUSER, SUPERUSER, OWNER_OF)
    if listed.returncode != 0:
        return Found("down", words(listed.stderr))
    owner = listed.stdout.strip()
    if not owner:
        return Found("absent")
    if owner != OWNER:
        return Found("foreign")
    if said:
        raise RefusedError(
            f"PostgreSQL does not let the account {OWNER} into its own database through the local socket: {said}. "
            f"pg_hba.conf has to say `local all all peer`, as Debian's does. Mend that {AGAIN}"
        )
    # Its account went with the package.
    return Found(**json.loads(done(psql(SUPERUSER, NAME, question))))


def create(terms: str) -> None:
    """An empty database, and who it belongs to; neither has a password.

    Raises:
        RefusedError: PostgreSQL does not.
    """
    done(psql(SUPERUSER, SUPERUSER, f"{NEW_ROLE}CREATE DATABASE {NAME} {terms};\n"))


def fill(wish: Wish) -> None:
    """Put everything into the empty database in one transaction, the password of its user included.

    An import that is cut leaves nothing: what nobody committed, PostgreSQL takes back.

    Raises:
        RefusedError: PostgreSQL does not accept it.
    """
    content = [*map(statements, SOURCES), QUIET, changes(wish, admin=True, guest=True, settings=list(wish.settings))]
    carry_out([*content, variable("mark", wish.mark), OURS])


def change(wish: Wish, *, admin: bool, guest: bool, settings: list[str]) -> None:
    """Set what differs.

    Raises:
        RefusedError: PostgreSQL does not accept it.
    """
    carry_out([changes(wish, admin=admin, guest=guest, settings=settings)])


def drop() -> None:
    """Remove the database with all that it holds, and who it belonged to."""
    done(psql(SUPERUSER, SUPERUSER, GONE))


def changes(wish: Wish, *, admin: bool, guest: bool, settings: list[str]) -> str:
    """Statements that set these."""
    found = variable("hash", bcrypt(wish.password)) + NEW_HASH if admin else ""
    found += NO_GUESTS if guest else ""
    for name in settings:
        found += variable("column", name) + variable("value", wish.settings[name]) + NEW_SETTING
    return found


def carry_out(scripts: list[str]) -> None:
    """All of it or nothing: a script that is cut ends without a word, for which --single-transaction would commit."""
    done(psql(OWNER, NAME, "\n".join([BEGIN, *scripts, COMMIT, ""])))


def statements(path: Path) -> str:
    """One of Zabbix' files, without a transaction of its own."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().strip().removeprefix("START TRANSACTION;").removesuffix(COMMIT)


def psql(account: str, database: str, script: str):
    """A script's end, run with the rights of an account; a secret in it is seen by no other process."""
    return run(
        *("setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups"),
        *("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"),
        f"--dbname={database}",
        given=script,
        directory=Path("/"),
        # No file of root's, and no server that an administrator's shell has chosen.
        variables={"HOME": "/nonexistent", "PGHOST": "", "PGPORT": "", "PGOPTIONS": "-c client_min_messages=warning"},
    )


def done(answer) -> str:
    """What a script printed.

    Raises:
        RefusedError: It failed.
    """
    if answer.returncode < 0:
        raise RefusedError(f"psql was ended by signal {-answer.returncode} in the middle of its work. Run again.")
    if answer.returncode != 0:
        raise RefusedError(f"PostgreSQL did not do what Zabbix needs: {words(answer.stderr)}. Mend that and run again.")
    return answer.stdout


def words(said: str) -> str:
    """The first complaint in one line."""
    complaint = re.search(r"(?:FATAL|ERROR|[Ee]rror):\s+(?!connection to server .*FATAL)(.+)", said)
    return (complaint[1] if complaint else " ".join(said.split()) or "it ended without a word").rstrip(".")


def has_account(name: str) -> bool:
    """Whether the host has an account of that name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def variable(name: str, value: object) -> str:
    """A line that gives psql a value, which its scripts quote as :'name'."""
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"\\set {name} '{text}'\n"


def bcrypt(password: str) -> str:
    """A password's hash as the frontend makes it."""
    salt = "".join(secrets.choice(BCRYPT_LETTERS) for _ in range(21)) + secrets.choice(BCRYPT_LAST_LETTERS)
    return crypt(password, f"{BCRYPT}{salt}")


def is_of(password: str, found: str | None) -> bool:
    """Whether a hash is that of the password."""
    return bool(found) and hmac.compare_digest(crypt(password, found), found)


def crypt(password: str, setting: str) -> str:
    """crypt(3) of the host's own library, since Python has none any more; empty where it does not know the kind."""
    function = ctypes.CDLL("libcrypt.so.1").crypt
    function.restype = ctypes.c_char_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    return (function(password.encode(), setting.encode()) or b"").decode()
