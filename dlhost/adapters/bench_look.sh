# Sent to a host's sh for `dlhost bench`: lines of bench:KEY=value, some keys several times. Changes nothing.
# Set before: prefix, where role conda has its environments; jupyter, where role jupyter has its own; the positional
# parameters are paths of Pythons elsewhere.
export LC_ALL=C
say() { printf 'bench:%s=%s\n' "$1" "$2"; }
say processor "$(sed -n '/^model name/{s/.*: *//p;q}' /proc/cpuinfo)"
say driver "$(cat /sys/module/nvidia/version 2>/dev/null)"
for environment in "$prefix"/envs/*; do
  # An environment is built beside the link that bears its name; those without one are of before, or not finished.
  [ -h "$environment" ] || continue
  say environment "${environment##*/}|$environment/bin/python"
done
[ ! -h "$jupyter" ] || set -- "$jupyter/bin/python" "$@"
for python; do
  say environment "${python%/bin/*}|$python"
done
echo complete=yes
