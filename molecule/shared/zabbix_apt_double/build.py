"""A stand-in for Zabbix's apt server, which no machine of the tests can reach: build.py DIRECTORY SUITE AGENT.deb.

Makes below DIRECTORY what is then served. The agent is the distribution's own under the vendor's version, so that a
real one runs; it calls itself by its own version still. All else is hardly a file, and speaks where the agent asks:

    7.4                  the agent, the plugin, and what shall not come from there
    7.4-wrong-signature  the same, signed by somebody else
    7.4-without-agent    the plugin alone
    7.4-without-plugin   the agent alone
    7.2                  the agent of 7.2, for another release of the distribution

Layout, names, paths and key words are those of https://repo.zabbix.com/zabbix/7.4/stable/debian as users show them.
Needs Python and dpkg.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "nvidia_apt_double")]

import openpgp  # noqa: E402
from packages import Package  # noqa: E402

PLUGIN = "/usr/libexec/zabbix/zabbix-agent2-plugin-nvidia-gpu"
CONFIGURATION = "/etc/zabbix/zabbix_agent2.d/plugins.d/nvidia.conf"
ANOTHER_SUITE = "bullseye"
RELEASE = """Origin: Zabbix
Label: zabbix
Suite: {suite}
Codename: {suite}
Architectures: amd64
Components: main
Date: Wed, 01 Jan 2025 00:02:00 UTC
"""


def main(directory: Path, suite: str, agent: Path) -> None:
    key = openpgp.Key("Double of Zabbix's apt server")
    if key.public() != (HERE / "key.asc").read_text():
        sys.exit(f"key.asc is to be:\n{key.public()}")
    agents = {release: renamed(agent, f"1:{release}.3-1+{suite}") for release in ("7.2", "7.4")}
    plugin, others = nvidia(suite), [Package(name, f"1:7.4.3-1+{suite}") for name in ("zabbix-sender", "zabbix-js")]
    debs = {each.name: each.deb() for each in (plugin, *others)}
    only_plugin = {plugin.name: debs[plugin.name]}
    serve(directory / "7.4", suite, agents["7.4"] | debs, key)
    serve(directory / "7.4-wrong-signature", suite, agents["7.4"] | debs, openpgp.Key("Somebody else"))
    serve(directory / "7.4-without-agent", suite, only_plugin, key)
    serve(directory / "7.4-without-plugin", suite, agents["7.4"], key)
    serve(directory / "7.2", ANOTHER_SUITE, agents["7.2"], key)


def renamed(agent: Path, version: str) -> dict[str, bytes]:
    """The package in another version."""
    with tempfile.TemporaryDirectory() as name:
        tree, deb = Path(name) / "tree", Path(name) / "zabbix-agent2.deb"
        subprocess.run(["dpkg-deb", "--raw-extract", agent, tree], check=True)
        control = tree / "DEBIAN/control"
        lines = control.read_text().splitlines(keepends=True)
        control.write_text("".join(f"Version: {version}\n" if line.startswith("Version:") else line for line in lines))
        subprocess.run(["dpkg-deb", "--build", "-Zgzip", "-z1", tree, deb], check=True, stdout=subprocess.DEVNULL)
        return {deb.stem: deb.read_bytes()}


def nvidia(suite: str) -> Package:
    return Package(
        "zabbix-agent2-plugin-nvidia-gpu",
        f"1:7.4.3-1+{suite}",
        depends="zabbix-agent2 (>= 1:7.4)",
        files={
            PLUGIN: (HERE / "plugin_double.py").read_text(),
            CONFIGURATION: f"Plugins.NVIDIA.System.Path={PLUGIN}\n",
        },
    )


def serve(place: Path, suite: str, debs: dict[str, bytes], signer: openpgp.Key) -> None:
    (place / "pool").mkdir(parents=True)
    stanzas = []
    for name, deb in sorted(debs.items()):
        path = place / "pool" / f"{name}.deb"
        path.write_bytes(deb)
        control = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
        where = f"Filename: pool/{path.name}\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
        stanzas.append(f"{control}{where}")
    index = "\n".join(stanzas).encode()
    lists = {"Packages": index, "Packages.gz": gzip.compress(index, mtime=0)}
    below = place / "dists" / suite / "main/binary-amd64"
    below.mkdir(parents=True)
    sums = ""
    for name, content in lists.items():
        (below / name).write_bytes(content)
        sums += f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-amd64/{name}\n"
    signed = signer.sign(f"{RELEASE.format(suite=suite)}SHA256:\n{sums}")
    (place / "dists" / suite / "InRelease").write_text(signed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
