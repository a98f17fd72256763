"""A whole Debian machine in QEMU: its own kernel, boot loader and boots, which a container has not.

Emulated in software, also where there is a /dev/kvm: that of a machine which is itself virtual may hang in the boot
loader.
"""

from __future__ import annotations

import shlex
import shutil
import struct
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from dlhost.adapters.network import LOOPBACK, free_port
from tests.e2e.conftest import Host

BOOT_TIMEOUT_S = 300
SECTOR = 512
PARTITION = 1024**2
PARTITION_SIZE = 8 * 1024**3
PACKAGES = ("grub-common", "grub-pc-bin", "linux-image-cloud-amd64")
# Of a host that has these packages, a machine of its own: with a network, a journal that outlasts a boot, and GRUB,
# which starts the newest kernel, for Debian's packages keep /vmlinuz and /initrd.img pointing at it.
FINISH = """
printf '[Match]\\nName=en*\\n[Network]\\nDHCP=ipv4\\n' >/etc/systemd/network/wired.network
systemctl enable systemd-networkd
echo '/dev/vda1 / ext4 defaults 0 1' >/etc/fstab
mkdir -p /var/log/journal /boot/grub
cp -r /usr/lib/grub/i386-pc /boot/grub/
cd /boot/grub
grub-mkimage --format=i386-pc --output=core.img --prefix='(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 normal linux
printf '%s\\n' 'linux /vmlinuz root=/dev/vda1 console=ttyS0' 'initrd /initrd.img' boot >grub.cfg
"""


@dataclass
class Machine(Host):
    """A host that is a machine of its own; its directory holds its disk."""

    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    @property
    def serial(self) -> Path:
        """What the machine has said on its serial line since it was switched on, over all its boots."""
        return self.directory / "serial.log"

    def execute(self, script: str) -> str:
        """Run a shell script on the machine as root."""
        done = self.ssh(f"sudo sh -euc {shlex.quote(script)}")
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def boot_id(self) -> str:
        return self.execute("cat /proc/sys/kernel/random/boot_id").strip()

    def switch_on(self) -> None:
        """Start QEMU; the machine's sshd may be waited for."""
        command = [
            *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-monitor", "none"),
            *("-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048", "-device", "virtio-rng-pci"),
            *("-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", f"user,id=net,hostfwd=tcp:{self.address}:{self.port}-:22"),
            *("-device", "virtio-net-pci,netdev=net", "-serial", f"file:{self.serial}"),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def wait_for_sshd(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while self.ssh().returncode != 0:
            assert self.process.poll() is None, "QEMU has ended."
            assert time.monotonic() < deadline, f"It did not boot within {BOOT_TIMEOUT_S} s:\n{self.said()}"
            time.sleep(1)

    def said(self) -> str:
        """The end of its serial line."""
        return self.serial.read_text(encoding="utf-8", errors="replace")[-3000:]

    def switch_off(self) -> None:
        """Pull the plug."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def copy_of(template: Path, collections: Path) -> Machine:
    """A new machine, switched off: its disk and the key to it as in the template's directory."""
    name = f"machine-{uuid.uuid4().hex[:8]}"
    directory = collections.parent / name
    subprocess.run(["cp", "-r", "--sparse=always", template, directory], check=True)
    keys = (template / "host_keys").read_text().splitlines()
    (directory / "known_hosts").write_text("".join(f"{name} {key}\n" for key in keys))
    return Machine(name, None, directory, LOOPBACK, free_port())


def make_template(tree: Path, directory: Path) -> None:
    """Make a disk of a file system's tree, which is consumed, in a directory that holds the key to it. Needs root."""
    keys = sorted((tree / "etc/ssh").glob("ssh_host_*_key.pub"))
    (directory / "host_keys").write_text("".join(f"{' '.join(key.read_text().split()[:2])}\n" for key in keys))
    (tree / "etc/hostname").write_text("machine\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost machine\n")
    resolver = tree / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.write_text("nameserver 10.0.2.3\n")
    disk = directory / "disk.img"
    with disk.open("wb") as image:
        image.truncate(PARTITION + PARTITION_SIZE)
        image.write(_boot_record((tree / "boot/grub/i386-pc/boot.img").read_bytes()))
        # GRUB's first sector starts what lies behind it.
        image.write((tree / "boot/grub/core.img").read_bytes())
    options = ["-q", "-F", "-d", str(tree), "-E", f"offset={PARTITION}"]
    subprocess.run(["mkfs.ext4", *options, disk, f"{PARTITION_SIZE // 1024}k"], check=True)
    shutil.rmtree(tree)


def _boot_record(code: bytes) -> bytes:
    """The disk's first sector: GRUB's, with one bootable Linux partition, addressed by sectors alone."""
    sectors = PARTITION // SECTOR, PARTITION_SIZE // SECTOR
    partition = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", *sectors)
    return code[:440] + bytes(6) + partition + bytes(48) + b"\x55\xaa"
