# Sent to a host's sh before a run: one line of KEY=value for each thing the preflight judges. Changes nothing.
. /etc/os-release 2>/dev/null
echo "distribution=$ID"
echo "version=$VERSION_ID"
echo "pretty_name=$PRETTY_NAME"
echo "architecture=$(uname -m)"
echo "user=$(id -un)"
echo "uid=$(id -u)"
free_mib() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }'; }
for place in root:/ var:/var tmp:/tmp; do
  echo "free_mib_${place%%:*}=$(free_mib "${place#*:}")"
done
[ -x /usr/bin/python3 ] && echo python=yes || echo python=no
[ -e /etc/ssh/sshd_config.d/00-dlhost.conf ] && echo ssh_hardened=yes || echo ssh_hardened=no
if [ "$(id -u)" = 0 ]; then echo sudo=ok
elif ! command -v sudo >/dev/null 2>&1; then echo sudo=none
elif said=$(LC_ALL=C sudo -n true 2>&1); then echo sudo=ok
else case $said in
  # Todd Miller's sudo, and sudo-rs.
  *password*|*authentication*) echo sudo=password ;;
  *) echo "sudo=$said" | tr '\n' ' '; echo ;;
esac fi
echo complete=yes
