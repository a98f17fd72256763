# One read-only look at a host's GPUs and at everything of NVIDIA's on it. For /bin/sh, without Python, as root where
# that can be: others do not see whose processes hold a GPU. Prints `nvidia:NAME=VALUE`; nvidia_facts.py reads it.
# Set before: sysfs, units, candidates (the latter two are lists of words).
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
unset ID VERSION_ID
say() { printf 'nvidia:%s=%s\n' "$1" "$2"; }
# Every line of standard input as one value of a list.
each() { sed "s/^/nvidia:$1=/"; }
first_line_of() { [ -r "$1" ] && IFS= read -r line <"$1" || line=; printf %s "$line"; }
has() { command -v "$1" >/dev/null 2>&1; }

[ ! -r /etc/os-release ] || . /etc/os-release
say distribution "${ID:-unknown}"
say version "${VERSION_ID:-unknown}"
say machine "$(uname -m)"
say boot_id "$(first_line_of /proc/sys/kernel/random/boot_id)"
say machine_id "$(first_line_of /etc/machine-id)"
say uptime_s "$(cut -d. -f1 /proc/uptime)"
container=no
[ ! -e /run/systemd/container ] && [ ! -e /.dockerenv ] && [ ! -e /run/.containerenv ] || container=yes
say container "$container"
[ ! -e /run/reboot-required ] || say reboot_required yes

for device in "$sysfs"/bus/pci/devices/*; do
  [ -r "$device/vendor" ] || continue
  read -r vendor <"$device/vendor"
  [ "$vendor" = 0x10de ] || continue
  read -r class <"$device/class"
  # Display controllers: VGA compatible, and 3D without a monitor's port.
  case $class in 0x0300*|0x0302*) ;; *) continue ;; esac
  read -r id <"$device/device"
  driver=
  [ ! -e "$device/driver" ] || driver=$(basename "$(readlink -f "$device/driver")")
  say gpu "${device##*/}|${id#0x}|$driver"
done
[ ! -d "$sysfs/module/nouveau" ] || say nouveau_loaded yes

running=$(uname -r)
say running_kernel "$running"
installed=
for modules in /lib/modules/*; do
  release=${modules##*/}
  if [ -e "/boot/vmlinuz-$release" ] || [ -e "$modules/vmlinuz" ]; then installed="$installed $release"; fi
  [ ! -d "$modules/build" ] || say headers "$release"
done
for release in $installed; do echo "$release"; done | sort -V | each kernel
# The kernel reads modprobe.d(5) from there before it sees the disk.
written=/etc/modprobe.d/dlhost-nouveau.conf
if [ -e "$written" ]; then
  # Others there are copies: dkms's .old-dkms, update-initramfs's .bak, and those of kernels that are gone.
  for release in $installed; do find "/boot/initrd.img-$release" ! -newer "$written" 2>/dev/null; done |
    sed 's|.*/initrd.img-||' | each stale_initramfs
fi
# A new one is written in full before it takes the old one's place.
say boot_free_mib "$(df -Pm /boot 2>/dev/null | awk 'NR == 2 { print $4 }')"
say initramfs_mib "$(du -m /boot/initrd.img-* 2>/dev/null | sort -n | awk 'END { print $1 }')"

first_line_of /proc/driver/nvidia/version | each loaded
if has modinfo; then
  for release in $installed; do
    # Debian's own packages call the module nvidia-current, and nvidia an alias.
    for module in nvidia nvidia-current nvidia-current-open; do
      about=$(modinfo -k "$release" "$module" 2>/dev/null) || continue
      field() { printf '%s\n' "$about" | sed -n "s/^$1: *//p" | head -n 1; }
      say module "$release|$(field version)|$(field license)|$(field signer)"
      break
    done
  done
fi
if has dkms; then dkms status 2>/dev/null | grep '^nvidia' | each dkms; fi

say architecture "$(dpkg --print-architecture 2>/dev/null)"
packages() {
  dpkg-query --show --showformat='${binary:Package}|${Version}|${db:Status-Status}|${db:Status-Want}\n' "$@" 2>/dev/null |
    grep -v '|not-installed|'
}
packages 'nvidia*' 'libnvidia*' 'libcuda*' 'cuda*' 'libcudnn*' 'cudnn*' 'linux-modules-nvidia*' \
  'linux-objects-nvidia*' 'linux-signatures-nvidia*' 'xserver-xorg-video-nvidia*' 'firmware-nvidia*' 'libnvcuvid*' \
  'libnvoptix*' 'libxnvctrl*' 'glx-alternative-nvidia' | each package
packages 'linux-image-*' 'linux-headers-*' mokutil | each kernel_package
[ -z "$(find /var/lib/dpkg/updates -name '[0-9]*' 2>/dev/null)" ] || say dpkg_was_cut yes

say user_space "$(
  library=$(ldconfig -p | sed -n 's/^\tlib\(cuda\|nvidia-ml\)\.so\.1 .* => //p' | head -n 1)
  [ -z "$library" ] || readlink -f "$library" | sed -n 's/.*\.so\.\([0-9][0-9.]*[0-9]\)$/\1/p'
)"
if has nvidia-smi; then
  say smi_path "$(command -v nvidia-smi)"
  # Within a driver in trouble it can hang where no signal reaches it; then nobody may wait for it, nor for its pipe.
  smi=$(mktemp -d)
  {
    timeout -k 2 20 nvidia-smi \
      --query-gpu=index,uuid,name,pci.bus_id,driver_version,memory.total,power.limit,power.min_limit,power.max_limit \
      --format=csv,noheader,nounits >"$smi/said" 2>&1
    echo $? >"$smi/status"
  } </dev/null >/dev/null 2>&1 &
  tenths=0
  until [ -s "$smi/status" ] || [ $tenths -ge 230 ]; do
    sleep 0.1
    tenths=$((tenths + 1))
  done
  status=$(first_line_of "$smi/status")
  say smi_status "${status:-124}"
  each smi <"$smi/said"
  rm -rf "$smi"
fi
if [ -e /usr/bin/nvidia-uninstall ] && ! dpkg-query --search /usr/bin/nvidia-uninstall >/dev/null 2>&1; then
  say runfile /usr/bin/nvidia-uninstall
fi

# The last byte of an EFI variable, after its attributes; nothing where there is none.
efi() {
  value=$(od -An -tu1 -j4 -N1 "$sysfs/firmware/efi/efivars/$1" 2>/dev/null)
  printf %s "${value##* }"
}
secure_boot=unsupported
if [ -d "$sysfs/firmware/efi" ]; then
  secure_boot=disabled
  [ "$(efi SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c)" != 1 ] || secure_boot=enabled
  # shim can be told not to check what the firmware has started it for.
  [ "$(efi MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23)" != 1 ] || secure_boot=disabled
fi
say secure_boot "$secure_boot"
for key in /var/lib/shim-signed/mok/MOK.der /var/lib/dkms/mok.pub; do
  [ -e "$key" ] || continue
  say mok_key "$key"
  if has mokutil; then say mok "$(mokutil --test-key "$key" </dev/null 2>&1 | tr '\n' ' ')"; fi
  break
done

# A desktop on nouveau has no /dev/nvidia* open, but the card's node of the kernel's own.
set -- -lname '/dev/nvidia*'
for node in "$sysfs"/class/drm/card[0-9]* "$sysfs"/class/drm/renderD[0-9]*; do
  [ "$(first_line_of "$node/device/vendor")" != 0x10de ] || set -- "$@" -o -lname "/dev/dri/${node##*/}"
done
holders=$(find /proc/[0-9]*/fd \( "$@" \) 2>/dev/null | cut -d/ -f3 | sort -un)
for pid in $holders; do
  command=$(first_line_of "/proc/$pid/comm")
  # The one only keeps the driver awake, the other opens what a session asks it for.
  case $command in nvidia-persiste|systemd-logind) continue ;; esac
  say user "$pid|$command|$(stat -c %U "/proc/$pid" 2>/dev/null)"
done

for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ -r "$file" ] || continue
  say source_file "$file"
  # A password of a mirror is nobody's business.
  sed 's|://[^/@ ]*@|://|g' "$file" | each source_line
done
for unit in $units; do
  say unit "$unit|$(systemctl show -p LoadState -p ActiveState -p UnitFileState "$unit" 2>/dev/null | tr '\n' '|')"
done
if [ -n "$candidates" ]; then
  # apt-cache would write what it has read of the lists, which a look must not.
  apt-cache -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= policy \
    $candidates 2>/dev/null |
    sed -n 's/^\([^ ].*\):$/\1/p; s/^  Candidate: /=/p' | each policy
fi
exit 0
