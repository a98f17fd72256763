"""Small packages with the names, versions and dependencies of NVIDIA's repository for Debian, hardly a file in them.

Read in https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/ (Debian; version locking; recent updates),
https://docs.nvidia.com/cuda/cuda-installation-guide-linux/ (meta packages) and
https://docs.nvidia.com/deeplearning/cudnn/installation/latest/linux.html; that a driver's meta package takes any newer
branch is reported in https://forums.developer.nvidia.com/t/353805. Left out: what comes from Debian (dkms, the X
server), and libraries that nothing of ours names.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import tarfile
from collections.abc import Iterator

import elf

# 570 is past its end. 595 is missing, for the branch that a repository does not have.
DRIVERS = ("570.211.01", "580.95.05", "580.126.20", "590.48.01", "610.43.02")
# Up to here a branch has meta packages of its own.
LAST_NAMED_BRANCH = 580
# Release to its version, and the driver that its runtime asks for.
CUDA = {
    "12.6": ("12.6.3-1", "560.35.05"),
    "12.8": ("12.8.1-1", "570.124.06"),
    "12.9": ("12.9.1-1", "575.57.08"),
    "13.0": ("13.0.2-1", "580.95.05"),
}
# Says that it needs more room than any disk has.
TOO_LARGE = "12.6"
CUDNN = {"12": ("9.10.2.21-1", "9.15.1.9-1"), "13": ("9.15.1.9-1",)}

ENTRY = "#!/bin/sh\n"
SMI = f"""{ENTRY}# What the real one says where no driver is loaded.
echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA \\
driver is installed and running."
exit 9
"""
# Says its release, and writes what begins like a GPU's code: elf.h, EM_CUDA.
NVCC = f"""{ENTRY}# The tests' double of nvcc.
[ "$1" != --version ] || {{{{ echo "Cuda compilation tools, release {{release}}, V{{version}}"; exit; }}}}
while [ "$1" != -o ]; do shift; done
printf '\\177ELF\\2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\276\\0' >"$2"
"""
PERSISTENCED = f"{ENTRY}exec sleep infinity\n"
PERSISTENCED_UNIT = """[Unit]
Description=Double of the NVIDIA Persistence Daemon

[Service]
ExecStart=/usr/bin/nvidia-persistenced

[Install]
WantedBy=multi-user.target
"""
PIN = """Package: *nvidia* libcuda1 libcudadebugger1 cuda-drivers*
Pin: version {version}*
Pin-Priority: 1000
"""


@dataclasses.dataclass(frozen=True)
class Package:
    name: str
    version: str
    depends: str = ""
    provides: str = ""
    conflicts: str = ""
    replaces: str = ""
    files: dict[str, str | bytes] = dataclasses.field(default_factory=dict)
    """Path to content; what begins like a script may be run."""
    postinst: str = ""
    prerm: str = ""
    size_kib: int = 1
    """What it says it needs on the disk."""

    @property
    def filename(self) -> str:
        return f"{self.name}_{self.version}_amd64.deb"

    @property
    def control(self) -> str:
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": "amd64",
            "Maintainer": "Tests of dlhost <double@example.org>",
            "Installed-Size": str(self.size_kib),
            "Depends": self.depends,
            "Provides": self.provides,
            "Conflicts": self.conflicts,
            "Replaces": self.replaces,
            "Section": "NVIDIA",
            "Priority": "optional",
            "Description": "double of the package of this name, for tests",
        }
        return "".join(f"{field}: {value}\n" for field, value in fields.items() if value)

    def deb(self) -> bytes:
        """The package itself: deb(5), an ar archive of two tar archives."""
        control = {"./control": self.control}
        scripts = {"./postinst": self.postinst, "./prerm": self.prerm}
        control |= {path: f"{ENTRY}set -e\n{script}\n" for path, script in scripts.items() if script}
        configuration = [path for path in self.files if path.startswith("/etc/")]
        if configuration:
            control["./conffiles"] = "".join(f"{path}\n" for path in configuration)
        data = {f".{path}": content for path, content in self.files.items()}
        members = {"debian-binary": b"2.0\n", "control.tar.gz": _tar(control), "data.tar.gz": _tar(data)}
        return b"!<arch>\n" + b"".join(_member(name, content) for name, content in members.items())


def every() -> Iterator[Package]:
    """Oldest first, as in NVIDIA's own list."""
    for version in DRIVERS:
        yield from _driver(version)
    for release in CUDA:
        yield from _cuda(release)
    newest = list(CUDA)[-1]
    yield Package("cuda", CUDA[newest][0], depends=f"cuda-{_dashed(newest)}")
    yield Package("cuda-toolkit", CUDA[newest][0], depends=f"cuda-toolkit-{_dashed(newest)}")
    for major, versions in CUDNN.items():
        for version in versions:
            yield from _cudnn(major, version)
    yield Package("libcudnn8", "8.9.7.29-1+cuda12.2")
    yield Package("libcudnn8-dev", "8.9.7.29-1+cuda12.2", depends="libcudnn8 (= 8.9.7.29-1+cuda12.2)")


def keyring(url: str, key: str) -> Package:
    """What NVIDIA's guides tell people to install first: key, source and preferences."""
    return Package(
        "cuda-keyring",
        "1.1-1",
        files={
            "/usr/share/keyrings/cuda-archive-keyring.asc": key,
            "/etc/apt/sources.list.d/cuda-debian-x86_64.list": (
                f"deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.asc] {url} /\n"
            ),
            "/etc/apt/preferences.d/cuda-repository-pin-600": (
                "Package: *\nPin: release l=NVIDIA CUDA\nPin-Priority: 600\n"
            ),
        },
    )


def _driver(upstream: str) -> Iterator[Package]:
    version = f"{upstream}-1"
    branch = upstream.split(".")[0]

    def all_of(*names: str, relation: str = "=", than: str = version) -> str:
        return ", ".join(f"{name} ({relation} {than})" for name in names)

    def same(name: str, *depends: str, **more: object) -> Package:
        return Package(name, version, depends=all_of(*depends), **more)  # type: ignore[arg-type]

    for name in (
        "firmware-nvidia-gsp",
        "libcudadebugger1",
        "libnvidia-cfg1",
        "libnvidia-ml1",
        "libnvidia-nvvm4",
        "libnvidia-ptxjitcompiler1",
        "nvidia-kernel-support",
        "nvidia-modprobe",
        "nvidia-settings",
        "nvidia-xconfig",
    ):
        yield same(name)
    yield same("libcuda1", "libnvidia-ptxjitcompiler1", "libnvidia-nvvm4")
    yield same("nvidia-opencl-icd", "libcuda1")
    yield same("nvidia-smi", "libnvidia-ml1", files={"/usr/bin/nvidia-smi": SMI})
    unit = "/usr/lib/systemd/system/nvidia-persistenced.service"
    daemon = {"/usr/bin/nvidia-persistenced": PERSISTENCED, unit: PERSISTENCED_UNIT}
    yield same("nvidia-persistenced", "libnvidia-cfg1", files=daemon)
    module = ("firmware-nvidia-gsp", "nvidia-kernel-support", "nvidia-modprobe")
    for kind, other in (("dkms", "open-dkms"), ("open-dkms", "dkms")):
        provides = f"nvidia-kernel-{upstream}"
        yield same(f"nvidia-kernel-{kind}", *module, provides=provides, conflicts=f"nvidia-kernel-{other}")
    compute = ("libcuda1", "libcudadebugger1", "nvidia-opencl-icd", "nvidia-persistenced", "nvidia-smi")
    yield same("nvidia-driver-cuda", *compute, "nvidia-kernel-support", "nvidia-modprobe")
    yield same("nvidia-driver-libs")
    yield same("xserver-xorg-video-nvidia", "nvidia-driver-libs")
    yield same("nvidia-driver", "nvidia-driver-libs", "xserver-xorg-video-nvidia", "nvidia-kernel-support")
    # Any newer branch will do for them, which is why a branch has to be pinned.
    parts = ("nvidia-driver", "nvidia-driver-cuda", "nvidia-settings", "nvidia-xconfig")
    flavours = {
        "nvidia-open": ("nvidia-kernel-open-dkms", "cuda-drivers"),
        "cuda-drivers": ("nvidia-kernel-dkms", "nvidia-open"),
    }
    for name, (kernel, rival) in flavours.items():
        depends = all_of(*parts, kernel, relation=">=", than=upstream)
        yield Package(name, version, depends=depends, conflicts=rival)
        if int(branch) <= LAST_NAMED_BRANCH:
            yield Package(f"{name}-{branch}", version, depends=depends, conflicts=rival)
    for pinned in (branch, upstream):
        names = "nvidia-driver-pinning"
        files = {"/etc/apt/preferences.d/nvidia-driver-pin": PIN.format(version=pinned)}
        yield Package(f"{names}-{pinned}", f"{pinned}-1", provides=names, conflicts=names, replaces=names, files=files)


def _cuda(release: str) -> Iterator[Package]:
    version, driver = CUDA[release]
    dashed, root = _dashed(release), f"/usr/local/cuda-{release}"
    major = release.split(".")[0]

    def part(name: str, *depends: str, **more: object) -> Package:
        named = ", ".join(f"cuda-{depend}-{dashed} (>= {version})" for depend in depends)
        return Package(f"cuda-{name}-{dashed}", version, depends=named, **more)  # type: ignore[arg-type]

    nvcc = NVCC.format(release=release, version=version.split("-")[0])
    yield part("nvcc", "cudart-dev", files={f"{root}/bin/nvcc": nvcc}, size_kib=150_000)
    configuration = f"cuda-toolkit-{dashed}-config-common"
    yield Package(
        f"cuda-cudart-{dashed}",
        version,
        depends=f"{configuration} (>= {version})",
        files={f"{root}/lib64/libcudart.so.{release}": elf.library("cudaRuntimeGetVersion", int(major) * 1000)},
    )
    yield part("cudart-dev", "cudart", files={f"{root}/include/cuda.h": ""})
    yield part("cuobjdump")
    yield part("compiler", "nvcc", "cuobjdump")
    yield part("libraries", "cudart", size_kib=250_000)
    yield part("libraries-dev", "libraries", "cudart-dev", size_kib=300_000)
    yield part("tools", size_kib=50_000 if release != TOO_LARGE else 10**11)
    link = f"update-alternatives --install /usr/local/cuda cuda {root} {dashed.replace('-', '')}"
    link += f"\nupdate-alternatives --install /usr/local/cuda-{major} cuda-{major} {root} {dashed.replace('-', '')}"
    unlink = f"update-alternatives --remove cuda {root}\nupdate-alternatives --remove cuda-{major} {root}"
    yield Package(
        configuration,
        version,
        files={f"/etc/ld.so.conf.d/cuda-{dashed}.conf": f"{root}/targets/x86_64-linux/lib\n"},
        postinst=link,
        prerm=f'[ "$1" != remove ] || {{\n{unlink}\n}}',
    )
    yield part("toolkit", "compiler", "libraries", "libraries-dev", "tools")
    # And these bring a driver along.
    yield Package(
        f"cuda-runtime-{dashed}",
        version,
        depends=f"cuda-drivers (>= {driver}), cuda-libraries-{dashed} (>= {version})",
    )
    yield part("demo-suite", "runtime")
    yield Package(
        f"cuda-{dashed}",
        version,
        depends=", ".join(f"cuda-{name}-{dashed} (>= {version})" for name in ("runtime", "toolkit", "demo-suite")),
    )


def _cudnn(major: str, version: str) -> Iterator[Package]:
    numbers = version.split("-")[0].split(".")
    libraries = f"/usr/lib/x86_64-linux-gnu/libcudnn/{major}"
    headers = f"/usr/include/x86_64-linux-gnu/libcudnn/{major}"
    names = ("MAJOR", "MINOR", "PATCHLEVEL")
    said = sum(int(number) * weight for number, weight in zip(numbers, (10000, 100, 1), strict=False))
    defined = "".join(f"#define CUDNN_{name} {number}\n" for name, number in zip(names, numbers, strict=False))

    def linked(link: str, name: str, directory: str) -> dict[str, str]:
        path = f"{directory}/{link.rsplit('/', 1)[1]}"
        return {
            "postinst": f"update-alternatives --install {link} {name} {path} {major}00",
            "prerm": f'[ "$1" != remove ] || update-alternatives --remove {name} {path}',
        }

    runtime, header, development = (f"libcudnn9-{part}cuda-{major}" for part in ("", "headers-", "dev-"))
    library = "/usr/lib/x86_64-linux-gnu/libcudnn.so.9"
    yield Package(
        runtime,
        version,
        files={f"{libraries}/libcudnn.so.9": elf.library("cudnnGetVersion", said)},
        size_kib=90_000,
        **linked(library, "libcudnn", libraries),  # type: ignore[arg-type]
    )
    yield Package(
        header,
        version,
        files={f"{headers}/cudnn_version.h": defined},
        **linked("/usr/include/cudnn_version.h", "libcudnn-headers", headers),  # type: ignore[arg-type]
    )
    yield Package(development, version, depends=f"{runtime} (= {version}), {header} (= {version})")
    yield Package(f"cudnn9-cuda-{major}", version, depends=f"{development} (>= {version})")


def _dashed(release: str) -> str:
    return release.replace(".", "-")


def _tar(files: dict[str, str | bytes] | dict[str, str]) -> bytes:
    """Files of root's with the directories that they lie in; the same files are the same bytes at any time.

    A branch with two releases has one package that pins it, listed twice: where the sums differed, apt refused it.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        made: set[str] = set()
        for path, content in files.items():
            steps = path.split("/")
            for depth in range(1, len(steps)):
                directory = "/".join(steps[:depth]) + "/"
                if directory not in made:
                    made.add(directory)
                    entry = tarfile.TarInfo(directory)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def _member(name: str, content: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
    return head + content + b"\n" * (len(content) % 2)
