# Sent to a host's sh for one look at what it is doing: lines of KEY=value, some keys several times. Changes nothing.
# Set before: units, the names or patterns of systemd units; ask_gpus, whether to ask nvidia-smi.
export LC_ALL=C
cpu_times() { sed -n '1s/^cpu */cpu=/p' /proc/stat; }

cpu_times
echo "uptime_s=$(cut -d. -f1 /proc/uptime)"
echo "load=$(cut -d' ' -f1-3 /proc/loadavg)"
echo "cores=$(getconf _NPROCESSORS_ONLN)"
sed -n 's/^\(MemTotal\|MemAvailable\|SwapTotal\|SwapFree\): *\([0-9]*\) kB$/\1=\2/p' /proc/meminfo
# The root whatever it is, then local disks: a lost network share would never answer.
disks() {
  timeout 5 df -k --output=size,used,avail,target /
  timeout 5 df -kl --output=size,used,avail,target -x overlay -x tmpfs -x devtmpfs -x squashfs -x vfat -x efivarfs
}
disks 2>/dev/null | while read -r size used free place; do
  # A container has single files mounted too.
  [ ! -d "$place" ] || echo "disk=$size $used $free $place"
done
# Each unit's block of lines becomes one line.
systemctl show --property=Id,LoadState,ActiveState,SubState -- $units 2>/dev/null |
  awk 'BEGIN { RS = "" } { gsub("\n", "|"); print "unit=" $0 }'
# Between the two looks at the processors some time has to pass.
sleep 0.3
cpu_times
# nvidia-smi comes after this: where the driver hangs, so does it, and nothing ends it.
echo complete=yes

[ "$ask_gpus" = yes ] || exit 0
if ! command -v nvidia-smi >/dev/null 2>&1; then
  echo smi=missing
  exit 0
fi
smi() { timeout -k 1 8 nvidia-smi "$1" --format=csv,noheader,nounits 2>&1; }
rows=$(smi --query-gpu=index,uuid,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,power.limit,mig.mode.current,name)
status=$?
printf '%s\n' "$rows" | sed 's/^/gpu=/'
if [ "$status" = 0 ]; then
  smi --query-compute-apps=gpu_uuid,pid,used_gpu_memory,process_name | while read -r row; do
    pid=$(printf %s "$row" | cut -d, -f2 | tr -d ' ')
    echo "app=$(stat -c %U "/proc/$pid" 2>/dev/null), $row"
  done
fi
echo "smi=$status"
