"""What the host says of accounts, units, ports and processes, from recorded texts; and what a server's end destroys."""

from __future__ import annotations

import importlib
import json
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from plugins.module_utils import jupyter_account

NAME = "ansible_collections.dlhost.host.plugins.module_utils.jupyter_host"
UNIT = "dlhost-jupyter@ada.service"
GROUP = "0::/docker/0123/system.slice/system-dlhost\\x2djupyter.slice/dlhost-jupyter@ada.service"
# ss of Debian 12 and 13: in a container, where root sees no process of another user, and on a host of its own.
LISTENERS = r"""
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=38,fd=3)) ino:1 sk:13 cgroup:/docker/f1b/ssh.service <->
LISTEN 0 128 127.0.0.1:8888 0.0.0.0:* uid:4711 ino:2 cgroup:/a/dlhost-jupyter@ada.service <->
LISTEN 0 5 *:9123 *:* users:(("jupyter-lab",pid=99,fd=6)) uid:4711 cgroup:/user.slice/session-3.scope <->
LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:* uid:101 ino:5 sk:1 cgroup:/system.slice/systemd-resolved.service <->
LISTEN 0 128 [::1]:7000 [::]:* users:(("x",pid=5,fd=7)) ino:3 sk:14 v6only:1 <->
LISTEN 0 50 [::ffff:127.0.0.1]:4040 *:* users:(("java",pid=6,fd=7)) ino:4 sk:15 cgroup:/user.slice v6only:0 <->
""".strip()
UNITS = """\
Id=dlhost-jupyter@ada.service
LoadState=loaded
UnitFileState=enabled
ActiveState=active
NeedDaemonReload=yes
MainPID=99
ExecMainStartTimestampMonotonic=5000000

Id=dlhost-jupyter@grace.service
LoadState=masked
UnitFileState=masked-runtime
ActiveState=failed
NeedDaemonReload=no
MainPID=0
ExecMainStartTimestampMonotonic=0
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with /proc and /run under tmp_path and commands that print what was recorded."""
    monkeypatch.syspath_prepend(str(collections_path()))
    module = importlib.import_module(NAME)
    texts = {"ss": LISTENERS, "systemctl": UNITS}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, texts[command[0]], "")

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "PROC", tmp_path / "proc")
    monkeypatch.setattr(module, "RUNTIME", tmp_path / "run")
    (tmp_path / "proc").mkdir()
    (tmp_path / "run/dlhost-jupyter-ada").mkdir(parents=True)
    return module


def process(host: Any, number: int, command: str, *, session: int = 1, terminal: int = 0, group: str = GROUP) -> None:
    directory = host.PROC / str(number)
    directory.mkdir()
    (directory / "cgroup").write_text(f"12:cpu:/docker/0123\n{group}\n")
    (directory / "stat").write_text(f"{number} (a (name) S 7 0) S 1 {number} {session} {terminal} -1 0 0\n")
    words = command.replace("/run", str(host.RUNTIME)).split()
    (directory / "cmdline").write_text("".join(f"{word}\0" for word in words))


def test_listeners_are_known_by_their_service_where_their_process_is_hidden(host: Any) -> None:
    listeners = {listener.port: listener for listener in host.find_listeners()}
    assert listeners[8888].unit == UNIT
    assert listeners[8888].program == "a program of 4711"
    assert listeners[22].unit == "ssh.service"
    assert listeners[22].program == "sshd, process 38 of root"
    assert listeners[9123].unit == ""
    assert listeners[9123].program == "jupyter-lab, process 99 of 4711"
    assert (listeners[53].address, listeners[7000].address) == ("127.0.0.53", "::1")


@pytest.mark.parametrize(
    ("address", "port", "found"),
    [
        ("127.0.0.1", 8888, True),
        ("127.0.0.1", 9123, True),  # Everywhere is here as well.
        ("0.0.0.0", 8888, True),  # noqa: S104
        ("127.0.0.1", 7000, False),
        ("::", 7000, True),
        ("127.0.0.1", 4040, True),  # As Java writes it.
        ("127.0.0.1", 8889, False),
    ],
)
def test_who_is_in_the_way_depends_on_both_addresses(host: Any, address: str, port: int, found: bool) -> None:
    assert bool(host.in_the_way(host.find_listeners(), address, port)) is found


def test_units_are_read_as_systemd_has_them(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.time, "time", lambda: 1000.0)
    monkeypatch.setattr(host.time, "monotonic", lambda: 105.0)
    units = host.find_units(["any"])
    ada, grace = units[UNIT], units["dlhost-jupyter@grace.service"]
    assert (ada.masked, ada.enabled, ada.active, ada.failed, ada.reload_due) == ("", True, True, False, True)
    # Started 5 s after boot, which was 100 s ago by a clock that may have been set since.
    assert ada.started == 900.0
    assert (grace.masked, grace.enabled, grace.active, grace.failed) == ("masked-runtime", False, False, True)
    assert host.find_units([]) == {}


def server(host: Any, *, name: str = UNIT, active: bool = True) -> Any:
    return host.Unit(
        name=name,
        # As systemd has a unit that was masked while it runs.
        masked="masked",
        enabled=True,
        active=active,
        failed=False,
        reload_due=False,
        process=10,
        started=1.0,
    )


KERNEL = "python -m ipykernel_launcher -f /run/dlhost-jupyter-ada/kernel-1.json"


@pytest.mark.parametrize(
    ("processes", "silent", "work"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([(11, "bash", 11, 34816)], [], [], id="terminal that waits"),
        pytest.param([(11, "bash", 11, 34816), (12, "/bin/top -d", 11, 34816)], [], ["top runs in it"], id="terminal"),
        pytest.param([(11, "-bash -l", 11, 34816)], [], [], id="login shell that waits"),
        pytest.param([(11, "bash train.sh", 11, 34816)], [], ["bash runs in it"], id="in place of a shell"),
        pytest.param([(11, KERNEL, 11, 0)], [], [], id="idle kernel"),
        pytest.param([(11, KERNEL, 11, 0)], ["kernel-1"], ["1 kernel is busy"], id="busy kernel"),
        pytest.param([(11, KERNEL, 11, 0), (12, KERNEL, 11, 0)], ["kernel-1"], ["1 kernel is busy"], id="one in two"),
        pytest.param([(11, KERNEL, 11, 0), (12, "train --all", 11, 0)], [], ["train runs in it"], id="left by a cell"),
        pytest.param([(11, "tmux", 11, 0), (12, "a", 12, 0)], [], ["a, tmux run in it"], id="left by a terminal"),
        pytest.param([(11, "", 11, 0)], [], [], id="ended and not collected"),
        pytest.param([(11, KERNEL, 11, 0)], None, ["1 kernel is busy"], id="nobody can ask"),
    ],
)
def test_what_a_restart_would_destroy_is_known(
    host: Any,
    monkeypatch: pytest.MonkeyPatch,
    processes: list[tuple[int, str, int, int]],
    silent: list[str] | None,
    work: list[str],
) -> None:
    process(host, 10, "python jupyter-lab")
    process(host, 90, "python train.py", group="0::/user.slice/user-1000.slice/session-1.scope")
    for number, command, session, terminal in processes:
        process(host, number, command, session=session, terminal=terminal)
    asked: list[str] = []

    def ask(user: Any, _interpreter: object, _module: object, _question: str, files: list[str], _s: float) -> Any:
        # Whoever the server runs as; its account may have another name by now, or none.
        assert user.uid == os.getuid()
        asked.extend(files)
        if silent is None:
            raise host.RefusedError("damaged")
        return silent

    monkeypatch.setattr(host, "_ask", ask)
    assert host.work_of(server(host), Path("/opt/dlhost/jupyter")) == work
    assert asked in ([], [str(host.RUNTIME / "dlhost-jupyter-ada/kernel-1.json")])


@pytest.mark.parametrize("more", [{"active": False}, {"name": "dlhost-tensorboard@ada.service"}])
def test_what_does_not_run_or_has_no_kernels_has_no_work(host: Any, more: dict[str, Any]) -> None:
    process(host, 11, "tensorboard-data-server", group="0::/system.slice/dlhost-tensorboard@ada.service")
    process(host, 12, "train")
    assert host.work_of(server(host, **more), Path("/opt")) == []


def test_the_last_words_are_the_programs_own(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        said = "4711\n" if command[0] == "systemctl" else "starting\n[C] Bad config: expected an int\n"
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(host, "run", run)
    assert host.log_of(UNIT) == ["starting", "[C] Bad config: expected an int"]
    # What systemd says about a unit bears no invocation of it.
    assert asked[1][-1] == "_SYSTEMD_INVOCATION_ID=4711"


def test_a_trial_says_last_why_it_fails(host: Any) -> None:
    me = host.Account("me", os.getuid(), os.getgid(), "me", "/")
    assert host.refusal_of(["true"], me) == ""
    assert host.refusal_of(["sh", "-c", "echo well >&2; echo 'expected an int' >&2; exit 1"], me) == "expected an int"
    assert host.refusal_of(["false"], me) == "no word"
    assert host.refusal_of(["/nowhere/jupyter-lab"], me) == "FileNotFoundError"


@pytest.mark.parametrize(("name", "words"), [("nobody-here", "no such account"), ("root", "root's rights")])
def test_an_account_that_cannot_have_a_server_is_refused(host: Any, name: str, words: str) -> None:
    with pytest.raises(host.RefusedError, match=words):
        host.account(name)


# With the rights of an account


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = os.umask(0o022)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    yield home
    os.umask(before)


def test_directories_are_made_for_the_user_and_looked_at(home: Path) -> None:
    paths = [str(home / "work"), str(home / "work/data/raw")]
    before = jupyter_account.look(paths, [])["directories"]
    assert before == [{"there": False, "is_directory": False, "owner": -1, "obstacle": ""}] * 2
    assert jupyter_account.make(paths) == ""
    assert (home / "work/data").stat().st_mode & 0o777 == 0o750
    assert (
        jupyter_account.look(paths, [])["directories"]
        == [{"there": True, "is_directory": True, "owner": os.getuid(), "obstacle": ""}] * 2
    )


def test_what_is_in_the_way_of_a_directory_is_named(home: Path) -> None:
    (home / "file").write_text("")
    (home / "broken").symlink_to(home / "nowhere")
    found = jupyter_account.look([str(home / name) for name in ("file", "file/below", "broken")], [])["directories"]
    assert found == [
        {"there": True, "is_directory": False, "owner": os.getuid(), "obstacle": ""},
        {"there": False, "is_directory": False, "owner": -1, "obstacle": str(home / "file")},
        {"there": True, "is_directory": False, "owner": -1, "obstacle": ""},
    ]
    assert jupyter_account.make([str(home / "file")]) == f"{home}/file: File exists"


def test_a_users_own_settings_are_found_and_left(home: Path) -> None:
    own = home / ".jupyter"
    own.mkdir()
    (own / "jupyter_server_config.py").write_text("# c.ServerApp.port = 1\nc.ServerApp.ip='*'\n c.ServerApp.ip = ''\n")
    (own / "jupyter_config.json").write_text(json.dumps({"ServerApp": {"token": "x"}, "Other": {"a": 1}}))
    (own / "jupyter_config.py").write_text("c.Completer.use_jedi = False\n")
    (own / "jupyter_server_config.json").write_text("not JSON")
    seen = jupyter_account.look([], [str(home / "absent")])
    assert seen["read"] == {f"{own}/jupyter_config.json": ["ServerApp.token"]}
    assert seen["unread"] == {f"{own}/jupyter_server_config.py": ["ServerApp.ip"]}
    assert seen["unreadable"] == [str(home / "absent")]


def test_the_text_answers_as_a_process_of_its_own(home: Path) -> None:
    """As it is run on a host: given to `python -c`, one question on standard input."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", Path(jupyter_account.__file__).read_text()],
        input=json.dumps(["make", [[str(home / "work")]]]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ""
    assert (home / "work").is_dir()


def test_a_kernel_that_has_ended_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a listener nobody is asked: the library that would ask is not even here."""
    from plugins.module_utils import jupyter_inside

    class Client:
        transport, ip = "tcp", "127.0.0.1"

        def __init__(self, connection_file: str) -> None:
            self.path = Path(connection_file)

        def load_connection_file(self) -> None:
            self.shell_port = json.loads(self.path.read_text())["shell_port"]

    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setitem(sys.modules, "jupyter_client", type(sys)("jupyter_client"))
    sys.modules["jupyter_client"].BlockingKernelClient = Client  # type: ignore[attr-defined]
    (tmp_path / "ended.json").write_text(json.dumps({"shell_port": port}))
    (tmp_path / "cut.json").write_text("{")
    files = [str(tmp_path / name) for name in ("ended.json", "cut.json", "gone.json")]
    assert jupyter_inside.silent_kernels(files, 0.1) == []


def test_a_kernel_has_all_of_the_time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.module_utils import jupyter_inside

    class Client:
        """Needs a second for its answer, which comes after one to somebody else."""

        transport = "ipc"

        def __init__(self, **_arguments: str) -> None:
            self.replies = ["another", "mine"]

        def load_connection_file(self) -> None: ...

        def start_channels(self, **_channels: bool) -> None: ...

        def stop_channels(self) -> None: ...

        def kernel_info(self) -> str:
            return "mine"

        def get_shell_msg(self, timeout: float) -> dict[str, dict[str, str]]:
            if timeout < 1:
                raise queue.Empty
            return {"parent_header": {"msg_id": self.replies.pop(0)}}

    monkeypatch.setitem(sys.modules, "jupyter_client", type(sys)("jupyter_client"))
    sys.modules["jupyter_client"].BlockingKernelClient = Client  # type: ignore[attr-defined]
    assert jupyter_inside.silent_kernels(["a.json", "b.json"], 2.0) == []
    assert jupyter_inside.silent_kernels(["a.json", "b.json"], 0.5) == ["a.json", "b.json"]
