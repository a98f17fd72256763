# Sent to a host's sh for `dlhost doctor`: lines of KEY=value, some keys several times, as root where that can be.
# Changes nothing. Set before: indexes, lists of words: addresses of package indexes besides apt's own.
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
echo "now=$(date +%s)"
echo "root=$(id -u)"
echo "synchronised=$(timeout 5 timedatectl show --property=NTPSynchronized --value 2>/dev/null)"

# Who listens on which port; root sees every program, and its unit in the path of its control group. In a container even
# root may not see others' programs, but sockets name their control groups too.
listeners=$(ss -Hltnpe 2>/dev/null) && echo listeners=known
printf '%s\n' "$listeners" | sed -n 's/^LISTEN/listener=&/p'
for pid in $(printf '%s\n' "$listeners" | grep -o 'pid=[0-9]*' | sort -u | cut -d= -f2); do
  unit=$(sed -n 's#.*/\([^/]*\.\(service\|socket\|scope\)\)$#\1#p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
  echo "unit=$pid $unit"
done

# The names of package indexes, and whether their ports answer: through apt's proxy where it has one.
eval "$(apt-config shell apt_http Acquire::http::Proxy apt_https Acquire::https::Proxy 2>/dev/null)"
reach() { # reach INDEX PROXY
  through=$2
  [ "$through" != DIRECT ] || through=
  address=${through:-$1}
  authority=${address#*://}
  authority=${authority%%/*}
  authority=${authority##*@}
  name=${authority%:*}
  port=${authority##*:}
  if [ "$port" = "$authority" ]; then
    case $address in https://*) port=443 ;; *) port=80 ;; esac
  fi
  if ! timeout 10 getent ahosts "$name" >/dev/null 2>&1 </dev/null; then said=unknown
  elif ! timeout 10 bash -c ': <"/dev/tcp/$0/$1"' "$name" "$port" >/dev/null 2>&1 </dev/null; then said=silent
  else said=answers
  fi
  # A password in an address is nobody's business.
  echo "index=$said $name $port $(printf %s "$1" | sed 's|://[^/@]*@|://|')"
}
sources=$(grep -hv '^ *#' /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null)
for index in $(printf '%s\n' "$sources" | grep -oE 'https?://[^] ]+' | sort -u); do
  case $index in
    http://*) reach "$index" "$apt_http" ;;
    *) reach "$index" "${apt_https:-$apt_http}" ;;
  esac
done
for index in $indexes; do
  reach "$index" "$https_proxy"
done
echo complete=yes
