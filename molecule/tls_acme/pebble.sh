# Let's Encrypt's own test server with an authority of its own, and a DNS in which every name is this host's: Debian's package pebble.
set -eu
cd /srv/pebble

# directory NAME PROGRAM PORT MORE: a unit of that name, and what else its configuration says.
directory() {
    management=$(($3 + 1000))
    cp ca.crt "$1-anchors.pem"
    cat > "$1.json" <<END
{"pebble": {
    "listenAddress": "127.0.0.1:$3", "managementListenAddress": "127.0.0.1:$management",
    "certificate": "/srv/pebble/directory.crt", "privateKey": "/srv/pebble/directory.key", "httpPort": 80, "tlsPort": 443$4
}}
END
    cat > "/etc/systemd/system/$1.service" <<END
[Unit]
Requires=pebble-dns.service
After=pebble-dns.service
[Service]
# Each order is proved anew, and no request is refused at random.
Environment=PEBBLE_AUTHZREUSE=0 PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0
ExecStart=$2 -config /srv/pebble/$1.json -dnsserver 127.0.0.1:8053
ExecStartPost=sh /srv/pebble/run.sh trust $1-anchors.pem $management
END
    systemctl daemon-reload
}

case $1 in
prepare)
    key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl req -x509 $key -days 30 -subj '/CN=Authority of the directory' -keyout ca.key -out ca.crt \
        -addext keyUsage=critical,keyCertSign,cRLSign
    printf 'subjectAltName=DNS:acme.test\nauthorityKeyIdentifier=keyid\n' > names
    openssl req -new $key -subj /CN=acme.test -keyout directory.key -out directory.csr
    openssl x509 -req -in directory.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile names -out directory.crt
    own=$(hostname -I | cut -d ' ' -f 1)
    echo "127.0.0.1 acme.test" >> /etc/hosts
    cat > /etc/systemd/system/pebble-dns.service <<END
[Service]
ExecStart=pebble-challtestsrv -defaultIPv4 $own -defaultIPv6 "" -dns01 127.0.0.1:8053 -management 127.0.0.1:8055 -http01 "" -https01 "" -tlsalpn01 ""
END
    directory pebble pebble 14000 ""
    ;;
customers)
    # A second one, for customers alone, and with profiles: Debian's releases have none yet that knows them.
    mkdir -p lists/partial
    echo "deb http://deb.debian.org/debian forky main" > forky.list
    # The host's own lists and packages stay as they are. A mirror may be a snapshot; who signed it is looked at all the same.
    testing="--option=Dir::Etc::SourceList=/srv/pebble/forky.list --option=Dir::Etc::SourceParts=- --option=Dir::State::Lists=/srv/pebble/lists
        --option=Acquire::Check-Valid-Until=false --option=Acquire::Languages=none --option=APT::Sandbox::User=root"
    apt-get $testing update
    apt-get $testing download pebble
    dpkg-deb --extract pebble_*.deb newer
    openssl rand -hex 32 > customers-key
    directory customers /srv/pebble/newer/usr/bin/pebble 14100 ",
    \"externalAccountBindingRequired\": true, \"externalAccountMACKeys\": {\"ada\": \"$(cat customers-key)\"},
    \"profiles\": {\"classic\": {\"description\": \"90 days\", \"validityPeriod\": 7776000},
                 \"shortlived\": {\"description\": \"Six days\", \"validityPeriod\": 518400}}"
    systemctl start customers.service
    ;;
trust)
    # Whom a client of the certificates has to trust, and of the directory itself.
    python3 - "$2" "$3" <<'END'
import pathlib, ssl, sys, time, urllib.request
anchors, port = sys.argv[1:]
trusted = ssl.create_default_context(cafile="ca.crt")
for _ in range(100):
    try:
        root = urllib.request.urlopen(f"https://acme.test:{port}/roots/0", context=trusted).read()
        break
    except OSError:
        time.sleep(0.1)
pathlib.Path(anchors).write_bytes(pathlib.Path("ca.crt").read_bytes() + root)
END
    ;;
esac
