"""What a server's end destroys, and what is asked with the rights of an account."""

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

PLACE = "ansible_collections.dlhost.host.plugins.module_utils"
UNIT = "dlhost-jupyter@ada.service"
GROUP = "0::/docker/0123/system.slice/system-dlhost\\x2djupyter.slice/dlhost-jupyter@ada.service"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with /proc and /run under tmp_path."""
    monkeypatch.syspath_prepend(str(collections_path()))
    module = importlib.import_module(f"{PLACE}.jupyter_host")
    monkeypatch.setattr(importlib.import_module(f"{PLACE}.service_host"), "PROC", tmp_path / "proc")
    monkeypatch.setattr(module, "RUNTIME", tmp_path / "run")
    (tmp_path / "proc").mkdir()
    (tmp_path / "run/dlhost-jupyter-ada").mkdir(parents=True)
    return module


def process(host: Any, number: int, command: str, *, session: int = 1, terminal: int = 0, group: str = GROUP) -> None:
    directory = host.RUNTIME.parent / "proc" / str(number)
    directory.mkdir()
    (directory / "cgroup").write_text(f"12:cpu:/docker/0123\n{group}\n")
    (directory / "stat").write_text(f"{number} (a (name) S 7 0) S 1 {number} {session} {terminal} -1 0 0\n")
    words = command.replace("/run", str(host.RUNTIME)).split()
    (directory / "cmdline").write_text("".join(f"{word}\0" for word in words))


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

    monkeypatch.setattr(host, "ask", ask)
    assert host.work_of(server(host), Path("/opt/dlhost/jupyter")) == work
    assert asked in ([], [str(host.RUNTIME / "dlhost-jupyter-ada/kernel-1.json")])


@pytest.mark.parametrize("more", [{"active": False}, {"name": "dlhost-tensorboard@ada.service"}])
def test_what_does_not_run_or_has_no_kernels_has_no_work(host: Any, more: dict[str, Any]) -> None:
    process(host, 11, "tensorboard-data-server", group="0::/system.slice/dlhost-tensorboard@ada.service")
    process(host, 12, "train")
    assert host.work_of(server(host, **more), Path("/opt")) == []


def test_a_trial_says_last_why_it_fails(host: Any) -> None:
    me = host.Account("me", os.getuid(), os.getgid(), "me", "/")
    assert host.refusal_of(["true"], me) == ""
    assert host.refusal_of(["sh", "-c", "echo well >&2; echo 'expected an int' >&2; exit 1"], me) == "expected an int"
    assert host.refusal_of(["false"], me) == "no word"
    assert host.refusal_of(["/nowhere/jupyter-lab"], me) == "FileNotFoundError"


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
