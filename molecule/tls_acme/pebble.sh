# Let's Encrypt's own test server with an authority of its own, and a DNS in which every name is this host's: Debian's package pebble.
set -eu
cd /srv/pebble

case $1 in
prepare)
    key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl req -x509 $key -days 30 -subj '/CN=Authority of the directory' -keyout ca.key -out ca.crt \
        -addext keyUsage=critical,keyCertSign,cRLSign
    printf 'subjectAltName=DNS:acme.test\nauthorityKeyIdentifier=keyid\n' > names
    openssl req -new $key -subj /CN=acme.test -keyout directory.key -out directory.csr
    openssl x509 -req -in directory.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile names -out directory.crt
    cp ca.crt anchors.pem
    cat > pebble.json <<'END'
{"pebble": {
    "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
    "certificate": "/srv/pebble/directory.crt", "privateKey": "/srv/pebble/directory.key", "httpPort": 80, "tlsPort": 443
}}
END
    own=$(hostname -I | cut -d ' ' -f 1)
    echo "127.0.0.1 acme.test" >> /etc/hosts
    cat > /etc/systemd/system/pebble-dns.service <<END
[Service]
ExecStart=pebble-challtestsrv -defaultIPv4 $own -defaultIPv6 "" -dns01 127.0.0.1:8053 -management 127.0.0.1:8055 -http01 "" -https01 "" -tlsalpn01 ""
END
    cat > /etc/systemd/system/pebble.service <<'END'
[Unit]
Requires=pebble-dns.service
After=pebble-dns.service
[Service]
# Each order is proved anew, and no request is refused at random.
Environment=PEBBLE_AUTHZREUSE=0 PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0
ExecStart=pebble -config /srv/pebble/pebble.json -dnsserver 127.0.0.1:8053
ExecStartPost=sh /srv/pebble/run.sh trust
END
    systemctl daemon-reload
    ;;
trust)
    # Whom a client of the certificates has to trust, and of the directory itself.
    python3 - <<'END'
import pathlib, ssl, time, urllib.request
trusted = ssl.create_default_context(cafile="ca.crt")
for _ in range(100):
    try:
        root = urllib.request.urlopen("https://acme.test:15000/roots/0", context=trusted).read()
        break
    except OSError:
        time.sleep(0.1)
pathlib.Path("anchors.pem").write_bytes(pathlib.Path("ca.crt").read_bytes() + root)
END
    ;;
esac
