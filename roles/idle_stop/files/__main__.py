# Written by dlhost, role idle_stop.
"""Look whether anybody or anything works on this host, and stop it where nothing does.

idle-stop look              a look, as the timer takes one each minute: decides, and acts
idle-stop keep TIME         keep the host up for 30m, 4h or 2d, a week at most; anybody may
idle-stop end               take one's own wish back
idle-stop show              what the last look said and who keeps the host up, as JSON
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import idle_host
from ansible_collections.dlhost.host.plugins.module_utils.idle_decision import (
    LONGEST_KEPT_S,
    MINUTE_S,
    STOP,
    WARN,
    Seen,
    Settings,
    State,
    Window,
    decide,
)

SCHEMA_VERSION = 1
CONFIG = Path("/etc/dlhost/idle_stop.json")
STATE = Path("/run/dlhost-idle-stop/state.json")
# A wish is a time, which a reboot does not change.
WISHES = Path("/var/lib/dlhost-idle-stop")
UNITS_S = {"m": MINUTE_S, "h": 60 * MINUTE_S, "d": 24 * 60 * MINUTE_S}
POWER_OFF = ["systemctl", "poweroff"]
COMMAND_LIMIT_S = 10 * MINUTE_S


class RefusedError(Exception):
    """One sentence for the user."""


def main(arguments):
    parser = argparse.ArgumentParser(prog="idle-stop", description="Stop this host where nothing works on it.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("look", help="look, decide, and act, as the timer does each minute")
    commands.add_parser("keep", help="keep the host up for a time").add_argument("time", help="30m, 4h or 2d")
    commands.add_parser("end", help="take one's own wish back")
    commands.add_parser("show", help="what the last look said, as JSON")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "look":
            look()
        else:
            if asked.command == "keep":
                keep(seconds_of(asked.time))
            elif asked.command == "end":
                (WISHES / str(os.getuid())).unlink(missing_ok=True)
            say(json.dumps(shown()))
    except RefusedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def say(text):
    """Write a line; from the timer it goes to the journal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def look():
    """Decide from what is seen and what the last look left, and act."""
    # Everybody's wishes: what one user put there, no other can take away.
    WISHES.mkdir(exist_ok=True)
    WISHES.chmod(0o1777)
    config = json.loads(CONFIG.read_text())
    before = read_state()
    seen, ticks = look_around(config, before.get("ticks", {}))
    decision = decide(settings_of(config), seen, State(**before.get("state", {})))
    write_state(
        {
            "state": dataclasses.asdict(decision.state),
            "ticks": ticks,
            "said": decision.said,
            "time": time.time(),
            "due": decision.due,
            "dry_run": config["dry_run"],
        }
    )
    if decision.said != before.get("said"):
        say(decision.said)
    if decision.act and config["dry_run"]:
        say(f"dry run: would {decision.act}")
    elif decision.act == STOP:
        stop(config["command"])
    elif decision.act:
        sentence = warning(decision, config) if decision.act == WARN else "dlhost: this host is not stopped after all."
        idle_host.tell(idle_host.processes(), sentence)


def look_around(config, earlier):
    """What is seen of the host, and what its processes have taken of the processor, which the next look compares."""
    ignored = {*config["ignored_programs"]}
    running = idle_host.processes()
    jupyter = idle_host.in_jupyter(running, earlier)
    kept = wishes()
    last = max(kept, key=kept.get, default=None)
    local = datetime.datetime.now()
    seen = Seen(
        now=time.monotonic(),
        booted=idle_host.booted(),
        local=local,
        gpu=idle_host.busy_gpus(running, ignored, jupyter),
        breaks=[*idle_host.at_packages(), *idle_host.inhibited(), *idle_host.over_ssh(running, earlier, ignored)],
        work=[
            *(what for work in jupyter.values() for what in work),
            *idle_host.at_desktops(),
            *idle_host.programs(running, ignored),
            *idle_host.typing(running),
            *idle_host.in_services(running, earlier, ignored),
            *idle_host.under_load(config["load"]),
        ],
        kept_until=datetime.datetime.fromtimestamp(kept[last]) if kept else None,
        kept_by=last or "",
    )
    return seen, {process.key: process.ticks for process in running}


def settings_of(config):
    """The settings that the decision takes."""
    values = {field.name: config[field.name] for field in dataclasses.fields(Settings)}
    return Settings(**{**values, "never_during": [Window(**window) for window in config["never_during"]]})


def warning(decision, config):
    """What everybody who is logged in is told."""
    return (
        f"dlhost: this host has been {decision.due}, and is stopped in {config['warning_minutes']} min. "
        "To keep it up for four hours: /usr/lib/dlhost/idle-stop keep 4h"
    )


def stop(command):
    """Stop the host, by the user's own command where there is one."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command] if command else POWER_OFF, check=False, timeout=COMMAND_LIMIT_S
        )
        failure = f"ended with status {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"did not end within {COMMAND_LIMIT_S // MINUTE_S} minutes"
    if failure:
        say(f"{'idle_stop_command' if command else ' '.join(POWER_OFF)} {failure}; the host stays up")


def seconds_of(text):
    """A time such as 4h, in seconds."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None or int(found[1]) * UNITS_S[found[2]] > LONGEST_KEPT_S:
        raise RefusedError(f"{text} is no such time: give minutes, hours or days, like 30m, 4h or 2d, a week at most.")
    return int(found[1]) * UNITS_S[found[2]]


def keep(seconds):
    """Have the host kept up for so long from now, in place of what one wished before."""
    wish = WISHES / str(os.getuid())
    staged = WISHES / f"{wish.name}.staged"
    try:
        staged.write_text(str(math.ceil(time.time()) + seconds))
        staged.replace(wish)
    except OSError as error:
        raise RefusedError(f"{wish} cannot be written: {error.strerror}.") from None


def wishes():
    """Who keeps the host up, and until when in seconds of the epoch."""
    found = {}
    now = time.time()
    for path in WISHES.glob("*"):
        try:
            # Whatever a user may have put there instead of a file, such as a pipe or a link.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
                status = os.fstat(file.fileno())
                if stat.S_ISREG(status.st_mode) and path.name == str(status.st_uid):
                    until = int(file.read(32))
                    if now < until <= now + LONGEST_KEPT_S + MINUTE_S:
                        found[name_of(status.st_uid)] = until
        except (OSError, ValueError):
            continue
    return found


def name_of(uid):
    """The account's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def shown():
    """What the last look said, how long nothing has worked since, and who keeps the host up."""
    left = read_state()
    idle_since = left.get("state", {}).get("idle_since", math.inf)
    return {
        "schema_version": SCHEMA_VERSION,
        "looked": left.get("time", 0),
        "said": left.get("said", ""),
        "due": left.get("due", ""),
        "idle_s": max(0, round(time.monotonic() - idle_since)) if math.isfinite(idle_since) else 0,
        "dry_run": left.get("dry_run", False),
        "kept": [{"user": user, "until": until} for user, until in sorted(wishes().items())],
    }


def read_state():
    """What the last look left; nothing before the first since the boot."""
    try:
        return json.loads(STATE.read_text())
    except (OSError, ValueError):
        return {}


def write_state(state):
    staged = STATE.with_suffix(".staged")
    staged.write_text(json.dumps(state))
    staged.chmod(0o644)
    staged.replace(STATE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
