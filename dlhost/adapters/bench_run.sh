# Sent to a host's sh to run bench_inside.py in one environment: lines of bench:KEY=value. Leaves nothing behind.
# Set before: python, activation, program, argument, limit_s.
export LC_ALL=C
# The connection may be gone before the end, which is to be noticed, and no reason to leave everything as it is.
trap '' PIPE
say() { printf 'bench:%s=%s\n' "$1" "$2"; }
place=$(mktemp -d) || exit 1
trap 'rm -rf "$place"' EXIT
mkdir "$place/home"
cd / || exit 1

# What another user may have changed, the program, a directory or a link on the way to it, is not for us to run.
owner=$(namei --owners -- "$python" 2>/dev/null |
  awk -v me="$(id -un)" 'NR > 1 && $2 != "root" && $2 != me && $2 != "-" { print $2; exit }')
if [ -n "$owner" ] || [ ! -e "$python" ]; then
  say owner "$owner"
  echo complete=yes
  exit 0
fi
{
  # The environment's own programs come first: jax has its code for a GPU assembled by one. The last two settings keep
  # tensorflow and jax from taking most of every GPU's memory, which others may be using.
  timeout -k 5 "$limit_s" env -i PATH="${python%/*}:/usr/bin:/bin" LC_ALL=C.UTF-8 HOME="$place/home" TMPDIR="$place/home" \
    PYTHONNOUSERSITE=1 TF_FORCE_GPU_ALLOW_GROWTH=true XLA_PYTHON_CLIENT_PREALLOCATE=false \
    "$python" -I -B -c "$activation" "$python" -I -B -c "$program" "$argument" >"$place/said" 2>"$place/noise" &
  echo $! >"$place/pid"
  wait $!
  echo $? >"$place/status"
} </dev/null >/dev/null 2>&1 &
# A process that waits for a GPU's driver may never end.
beats=0
until [ -s "$place/status" ] || [ $beats -gt $((limit_s * 5 + 100)) ]; do
  sleep 0.2
  beats=$((beats + 1))
  # Where nobody listens any more, as after Ctrl-C, nobody computes either.
  if ! echo 2>/dev/null; then
    kill "$(cat "$place/pid")"
    # What is written while its directory is removed would stay; timeout kills after five seconds what does not end.
    beats=0
    until [ -s "$place/status" ] || [ $beats -gt 30 ]; do
      sleep 0.2
      beats=$((beats + 1))
    done
    exit 1
  fi
done
say owner "$owner"
say status "$(cat "$place/status")"
say noise "$(grep . "$place/noise" | tail -n 1)"
# An environment may have Python say something before the program has its turn.
say said "$(tail -n 1 "$place/said")"
echo complete=yes
