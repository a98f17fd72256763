"""A host's certificate from an ACME directory: asked for by certbot, put in place, and asked for again with patience.

Runs in module acme_certificate, and on the host by itself, where a timer renews the certificate.
"""

from __future__ import annotations

import calendar
import contextlib
import dataclasses
import hashlib
import http.client
import ipaddress
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import stat
import time
import urllib.error
import urllib.request
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import owned_files, tls_host
from ansible_collections.dlhost.host.plugins.module_utils.commands import failure, run

NGINX = "/usr/sbin/nginx"
CERTBOT = "/usr/bin/certbot"
NGINX_UNIT = "nginx.service"
TLS = Path("/etc/dlhost/tls")
OWNER = GROUP = "root"
# What has to be known where no controller is: the order, and who signed a private directory's certificate.
ORDER = Path("/etc/dlhost/tls_acme.json")
DIRECTORY_CA = Path("/etc/dlhost/tls_acme_ca.pem")
# As whose customer the host makes its account, for certbot: its command line is everybody's to read.
ACCOUNT = Path("/etc/dlhost/tls_acme_account.ini")
PROGRAM = "/usr/lib/dlhost/tls-acme"
STATE = Path("/var/lib/dlhost-tls")
WEBROOT = STATE / "webroot"
# certbot's own directories, apart from those of a certbot that is somebody else's.
OWN = STATE / "certbot"
RECORD = STATE / "tries.json"
# Lies there while nginx has not taken up what is in its place.
RELOAD_DUE = STATE / "reload-due"

# Let's Encrypt allows five failures an hour for a name.
TRIES, TRIES_WITHIN_S = 3, 3600
# Where a directory that has been asked too often does not say until when.
LIMITED_S = 12 * 3600
# A third of less than this would leave no time to mend something.
VERY_SHORT_S = 10 * 86400
REQUEST_TIMEOUT_S, CERTBOT_TIMEOUT_S = 15, 300
LONGEST_REPLY = 1 << 20
CHALLENGE = ".well-known/acme-challenge"
HTTP_PORT = 80

# One of a certbot's own words for each, in its help text.
PROFILE_OPTION, ADDRESS_OPTION = "--required-profile", "--ip-address"
# Of tls_key_type, as certbot has them.
KEY_OPTIONS = {
    "ecdsa_p256": ("--key-type=ecdsa", "--elliptic-curve=secp256r1"),
    "ecdsa_p384": ("--key-type=ecdsa", "--elliptic-curve=secp384r1"),
    "rsa_2048": ("--key-type=rsa", "--rsa-key-size=2048"),
    "rsa_3072": ("--key-type=rsa", "--rsa-key-size=3072"),
    "rsa_4096": ("--key-type=rsa", "--rsa-key-size=4096"),
}


class AcmeError(Exception):
    """Why there is no certificate, as a sentence without a full stop; `not_before` is when to ask again (epoch)."""

    def __init__(self, reason: str, not_before: float = 0) -> None:
        super().__init__(reason)
        self.not_before = not_before


@dataclasses.dataclass(frozen=True)
class Order:
    """What is asked for and of whom."""

    directory: str
    email: str
    names: list[str]
    key_type: str
    profile: str
    dns_hook: str
    certbot: str
    """Path of the user's own; empty for the distribution's."""
    has_ca: bool
    has_eab: bool
    renew_days: int
    consumers: list[dict[str, str]]

    @property
    def lineage(self) -> str:
        """What certbot calls the certificate: another one for whatever makes it another."""
        asked = [self.directory, self.names, self.key_type, self.profile]
        return f"dlhost-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}"

    @property
    def program(self) -> str:
        """The certbot that asks."""
        return self.certbot or CERTBOT

    @property
    def live(self) -> Path:
        return OWN / "config" / "live" / self.lineage

    @property
    def host(self) -> str:
        """The directory, as a person calls it."""
        return self.directory.split("/")[2]


@dataclasses.dataclass(frozen=True)
class Life:
    """When a certificate begins and ends, in seconds of the epoch."""

    begin: float
    end: float

    def renew_at(self, renew_days: int) -> float:
        """So many days before its end; what lives for a short time has a third of it left, a very short one half.

        As certbot has it and Let's Encrypt advises.
        """
        lives = self.end - self.begin
        return self.end - min(renew_days * 86400, lives / (2 if lives < VERY_SHORT_S else 3))


@dataclasses.dataclass(frozen=True)
class Tries:
    """What was tried in vain for a lineage: when, why the last time, and before when it is not to be tried again."""

    lineage: str = ""
    times: tuple[float, ...] = ()
    reason: str = ""
    not_before: float = 0

    @classmethod
    def told(cls, record: dict) -> Tries:
        """As they were written down.

        Raises:
            TypeError, KeyError: They are something else.
        """
        return cls(**{**record, "times": tuple(record["times"])})

    def next(self, now: float) -> float:
        """The earliest time for the next one."""
        recent = [then for then in self.times if now - TRIES_WITHIN_S < then <= now]
        patience = recent[-TRIES] + TRIES_WITHIN_S if len(recent) >= TRIES else 0
        return max(self.not_before, patience)


@dataclasses.dataclass(frozen=True)
class Standing:
    """How it stands with a host's certificate: `reason` says what was tried in vain, `due` whether one is wanted."""

    life: Life | None
    due: bool
    installed: bool
    renew_at: float
    reason: str
    next_try: float


def read_order() -> Order:
    """The order that the last run left on this host."""
    return Order(**json.loads(ORDER.read_text()))


def standing(order: Order, now: float) -> Standing:
    """How it stands, by what lies on the host."""
    life, given = life_of(order.live / "cert.pem"), issued(order)
    renew_at = life.renew_at(order.renew_days) if life and given else 0
    tries = read_tries(order)
    return Standing(
        life=life,
        due=now >= renew_at,
        installed=bool(given) and not differing(order) and not RELOAD_DUE.exists(),
        renew_at=renew_at,
        reason=tries.reason,
        next_try=tries.next(now),
    )


def attend(order: Order, now: float) -> None:
    """Have a certificate that is valid for long enough in place, and served.

    Raises:
        AcmeError: There is none to be had now; what was there is there still, and when to try again is remembered.
    """
    stands = standing(order, now)
    if stands.due:
        if now < stands.next_try:
            raise AcmeError(stands.reason, stands.next_try)
        try:
            refuse_impossible(order)
            ask_for_new(order)
        except AcmeError as error:
            remember(order, error, now)
            raise
        RECORD.unlink(missing_ok=True)
        forget(order, others=True)
    install(order)


def ask_for_new(order: Order) -> None:
    """Have certbot ask, and see that it has put something new into the lineage.

    A certbot that was cut, or met a full disk, leaves one that it does not know again: it would give the next
    certificate another name, or fail for ever, and each time spend one.

    Raises:
        AcmeError: The directory gives none, or certbot does not put it there.
    """
    if not is_whole(order):
        forget(order)
    had = issued(order)
    ask(order)
    if issued(order) in (b"", had):
        forget(order)
        raise AcmeError(f"certbot ended well and left none in {order.live}")


def is_whole(order: Order) -> bool:
    """Whether certbot's lineage has everything that certbot wants of it."""
    settings = OWN / "config" / "renewal" / f"{order.lineage}.conf"
    try:
        # Of the files, this is the last that certbot writes there.
        is_known = f"fullchain = {order.live / 'fullchain.pem'}" in settings.read_text()
    except (OSError, ValueError):
        return False
    has_all = bool(life_of(order.live / "cert.pem")) and (order.live / "chain.pem").is_file()
    return is_known and has_all and bool(issued(order))


def issued(order: Order) -> bytes:
    """The certificate with its chain that the directory gave; empty for none, and where its key is not there too."""
    certificate = order.live / "fullchain.pem"
    return certificate.read_bytes() if tls_host.is_pair(order.live / "privkey.pem", certificate) else b""


def all_issued(order: Order) -> list[str]:
    """That one, and those that were given for whatever settings, with a key or without."""
    texts = [issued(order).decode(errors="replace")]
    for path in sorted(order.live.parent.glob("*/fullchain.pem")):
        with contextlib.suppress(OSError):
            texts.append(path.read_text(errors="replace"))
    return texts


def differing(order: Order) -> list[owned_files.OwnedFile]:
    """Every file that differs where the pair of the directory should be."""
    key, certificate = (order.live / "privkey.pem").read_bytes(), issued(order)
    consumers = [(consumer["name"], consumer["group"]) for consumer in order.consumers]
    wanted = tls_host.placed(TLS, consumers, key, certificate, OWNER, GROUP)
    return [file for file in wanted if not owned_files.is_as_wanted(owned_files.find(file.path), file)]


def install(order: Order) -> list[str]:
    """Put the directory's pair in its places and have nginx take it; where nginx cannot, all is as it was.

    Raises:
        AcmeError: The pair is none, or nginx does not accept its configuration.
    """
    if not issued(order):
        raise AcmeError(f"key and certificate in {order.live} do not belong together")
    files = differing(order)
    if not files and not RELOAD_DUE.exists():
        return []
    found = {file: owned_files.find(file.path).content for file in files}
    make_directories()
    RELOAD_DUE.touch()
    try:
        owned_files.swap(owned_files.stage(files))
        reload_nginx()
    except (AcmeError, owned_files.OwnedFilesError) as error:
        before = [dataclasses.replace(file, content=content) for file, content in found.items() if content is not None]
        owned_files.swap(owned_files.stage(before))
        # A new half beside an old one would keep nginx from its next start.
        for file, content in found.items():
            if content is None:
                file.path.unlink(missing_ok=True)
        raise AcmeError(str(error).rstrip(".")) from None
    RELOAD_DUE.unlink()
    return [str(file.path) for file in files]


def reload_nginx() -> None:
    """Have nginx take the new pair where it runs.

    Raises:
        AcmeError: Its configuration is broken, whoever has broken it.
    """
    if run("systemctl", "is-active", "--quiet", NGINX_UNIT).returncode != 0:
        return
    for command in ((NGINX, "-t"), ("systemctl", "reload", NGINX_UNIT)):
        done = run(*command)
        if done.returncode != 0:
            said = " ".join(done.stderr.split())
            raise AcmeError(f"{' '.join(command)} fails, so the new certificate is not taken up: {said}")


def refuse_impossible(order: Order) -> None:
    """Raises AcmeError for what is known before the directory is asked for anything, which counts what it is asked."""
    if order.certbot:
        refuse_program("tls_acme_certbot", order.certbot)
    refuse_certbot(order)
    refuse_directory(order)
    if not order.dns_hook:
        refuse_unserved(order)
    else:
        refuse_program("tls_acme_dns_hook", order.dns_hook)


def refuse_program(variable: str, value: str) -> None:
    """Raises AcmeError where a program of the user's is none, or somebody else's to write: it runs as root."""
    program = Path(value)
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise AcmeError(f"{variable} is {program}, and there is no such program on the host")
    real = program.resolve()
    for path in (real, *real.parents, *program.parents):
        status = path.stat()
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise AcmeError(
                f"{variable} is {program}, which runs as root, and others may write {path}; "
                "give that to root (chown root) and to nobody else (chmod go-w)"
            )


def refuse_certbot(order: Order) -> None:
    """Raises AcmeError where certbot does not run, or is too old for what is asked."""
    addresses = [name for name in order.names if is_address(name)]
    wanted = {PROFILE_OPTION: "tls_acme_profile", ADDRESS_OPTION: f"the address {', '.join(addresses)} in tls_names"}
    asked = {option for option, is_asked in ((PROFILE_OPTION, order.profile), (ADDRESS_OPTION, addresses)) if is_asked}
    help_text = run(order.program, "--help", "all")
    if help_text.returncode != 0:
        raise AcmeError(failure(help_text).rstrip("."))
    for option in sorted(asked):
        if option not in help_text.stdout:
            version = "".join(run(order.program, "--version").stdout.split()[-1:])
            raise AcmeError(
                f"certbot {version} of this host has no {option}, which {wanted[option]} takes; "
                "tls_acme_certbot is the path of a newer one"
            )


def refuse_directory(order: Order) -> None:
    """Raises AcmeError where the directory cannot be reached, is not trusted, or is none."""
    context = ssl.create_default_context(cafile=str(DIRECTORY_CA) if order.has_ca else None)
    # certbot itself is not strict, and private authorities are often made by hand.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    fix = "tls_acme_ca is not who signed it" if order.has_ca else "tls_acme_ca takes the certificate of who signed it"
    try:
        # Role tls takes no other URL than https://.
        with urllib.request.urlopen(order.directory, timeout=REQUEST_TIMEOUT_S, context=context) as answer:  # noqa: S310
            offered = json.loads(answer.read(LONGEST_REPLY))
            offered["newOrder"]
    except urllib.error.HTTPError as error:
        raise AcmeError(f"tls_acme_directory {order.directory} answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            said = error.reason.verify_message
            raise AcmeError(f"the certificate of {order.host} is not trusted ({said}); {fix}") from None
        raise AcmeError(f"{order.directory} cannot be reached ({_said(error.reason)})") from None
    except OSError as error:
        raise AcmeError(f"{order.directory} cannot be reached ({_said(error)})") from None
    except (ValueError, KeyError, TypeError, http.client.HTTPException):
        raise AcmeError(f"tls_acme_directory {order.directory} is no ACME directory") from None
    meta = offered.get("meta") or {}
    profiles = meta.get("profiles") or {}
    if order.profile and order.profile not in profiles:
        offers = f"offers {', '.join(profiles)}" if profiles else "has no profiles"
        raise AcmeError(f"tls_acme_profile is {order.profile}, and {order.host} {offers}")
    if meta.get("externalAccountRequired") and not order.has_eab:
        raise AcmeError(
            f"{order.host} has accounts for its customers alone; "
            "tls_acme_eab_kid and tls_acme_eab_hmac_key take what it tells each of them"
        )


def refuse_unserved(order: Order) -> None:
    """Raises AcmeError where this host does not answer for itself on port 80."""
    make_directories()
    word = secrets.token_hex(16)
    test = WEBROOT / CHALLENGE / f"dlhost-{word}"
    try:
        test.write_text(word)
        test.chmod(0o644)
        for name in order.names:
            said = answer_here(name, f"/{CHALLENGE}/{test.name}")
            if word not in said:
                seen = said.strip().partition("\n")[0].strip() or "it says nothing"
                raise AcmeError(
                    f"port 80 of this host does not answer for {name} with what is in {WEBROOT} ({seen}); "
                    "role nginx_proxy has it do so"
                )
    finally:
        test.unlink(missing_ok=True)


def answer_here(name: str, path: str) -> str:
    """What this host itself answers on port 80 under a name."""
    asked = f"[{name}]" if ":" in name else name
    request = f"GET {path} HTTP/1.0\r\nHost: {asked}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", HTTP_PORT), REQUEST_TIMEOUT_S) as connection:
            connection.sendall(request.encode())
            with connection.makefile("rb") as stream:
                return stream.read(LONGEST_REPLY).decode(errors="replace")
    except OSError as error:
        return _said(error)


def ask(order: Order, dry_run: bool = False) -> None:
    """Have certbot ask the directory; what it is given lies in the lineage then.

    Raises:
        AcmeError: The directory gives none.
    """
    make_directories()
    log = OWN / "logs" / "letsencrypt.log"
    log.unlink(missing_ok=True)
    done = run(
        *command(order, dry_run),
        # A hook waits until the DNS shows what it has put there, for one name after another.
        timeout_s=CERTBOT_TIMEOUT_S * (len(order.names) if order.dns_hook else 1),
        variables={"REQUESTS_CA_BUNDLE": str(DIRECTORY_CA)} if order.has_ca else {},
    )
    if done.returncode != 0:
        written = log.read_text(errors="replace") if log.is_file() else ""
        raise refusal(order, f"{done.stdout}\n{done.stderr}", written)


def command(order: Order, dry_run: bool) -> list[str]:
    """The command line of certbot; it holds no secret."""
    names = [f"{ADDRESS_OPTION if is_address(name) else '--domain'}={name}" for name in order.names]
    proof = ["--webroot", f"--webroot-path={WEBROOT}"]
    if order.dns_hook:
        hooks = [f"--manual-auth-hook={order.dns_hook} add", f"--manual-cleanup-hook={order.dns_hook} remove"]
        proof = ["--manual", "--preferred-challenges=dns", *hooks]
    return [
        order.program,
        "certonly",
        "--non-interactive",
        "--agree-tos",
        *(f"--{name}-dir={OWN / name}" for name in ("config", "work", "logs")),
        f"--server={order.directory}",
        f"--email={order.email}",
        *([f"--config={ACCOUNT}"] if order.has_eab else []),
        "--no-eff-email",
        f"--cert-name={order.lineage}",
        *names,
        *proof,
        *KEY_OPTIONS[order.key_type],
        *([f"{PROFILE_OPTION}={order.profile}"] if order.profile else []),
        # Whether it is time is decided here, and by nothing else.
        *(["--dry-run"] if dry_run else ["--force-renewal", f"--deploy-hook={PROGRAM} install"]),
    ]


def refusal(order: Order, said: str, log: str) -> AcmeError:
    """What the words of a certbot that failed mean, as the thing to mend."""
    found = re.search(r"Domain: +(\S+)\s+Type: +(\S+)\s+Detail: +(.*)", said)
    if found:
        name, kind, detail = found.groups()
        return AcmeError(diagnosis(order, name, kind, detail.strip().rstrip(".")))
    kinds = re.findall(r"urn:ietf:params:acme:error:(\w+)", log)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"(Saving debug log|Ask for help|An unexpected error)", line)]
    detail = (lines[-1] if lines else "certbot says nothing").rstrip(".")
    if "rateLimited" in kinds[-1:]:
        until = re.search(r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)", f"{said} {log}")
        not_before = time.time() + LIMITED_S
        if until:
            not_before = _seconds(f"{until[1]} {until[2]}")
        return AcmeError(f"{order.host} has been asked too often ({detail})", not_before)
    if "rejectedIdentifier" in kinds[-1:]:
        return AcmeError(f"{order.host} certifies no such name as one of {', '.join(order.names)} ({detail})")
    account = re.search(r"Unable to register an account with ACME server\. +(?:Error .*?: )?(.*)", detail)
    if account and order.has_eab:
        return AcmeError(
            f"{order.host} makes no account with tls_acme_eab_kid and tls_acme_eab_hmac_key as they are ({account[1]})"
        )
    return AcmeError(f"{order.host} gave none ({detail})")


def diagnosis(order: Order, name: str, kind: str, detail: str) -> str:
    """Why a directory could not see that a name is this host's."""
    words = f"{order.host} says: {detail}"
    if order.dns_hook:
        return f"{order.dns_hook} did not have the DNS prove that {name} is this host's; {words}"
    if kind == "dns" or re.search(r"no such host|NXDOMAIN|SERVFAIL|resolv(e|ing) ", detail):
        return f"{name} has no address in the DNS that {order.host} asks; {words}"
    if kind == "caa":
        return f"the CAA record of {name} in the DNS forbids {order.host} to certify it; {words}"
    mine, seen = own_addresses(), seen_address(name, detail)
    where = f"{name} leads to {seen}" if seen else f"nobody here knows where {name} leads"
    here = f"this host has {', '.join(mine) or 'no address'}"
    # An address of the other kind than the one that was tried says nothing of the router.
    alike = [address for address in mine if (":" in address) == (":" in seen)]
    private = [address for address in alike if not ipaddress.ip_address(address).is_global]
    elsewhere = bool(seen and mine) and seen not in mine
    if elsewhere and private and private == alike:
        here += (
            ", which the internet does not reach: port 80 of the router has to be passed on to it, and of a provider's "
            "CGNAT that cannot be; tls_acme_dns_hook needs no port"
        )
    elif elsewhere:
        here += ": let the DNS say so"
    if kind in ("connection", "tls"):
        return f"port 80 of {name} is closed to {order.host}: {where}, and {here}; {words}"
    return f"something else answers on port 80 of {name}: {where}, and {here}; {words}"


def own_addresses() -> list[str]:
    """The addresses of this host that are not its own affair alone."""
    try:
        links = json.loads(run("ip", "-json", "address").stdout)
    except ValueError:
        return []
    found = [address["local"] for link in links for address in link.get("addr_info", []) if "local" in address]
    return [text for text in found if not _is_local(ipaddress.ip_address(text))]


def seen_address(name: str, detail: str) -> str:
    """Where a name leads, in the directory's words, or else by this host's own resolver; empty where nobody knows."""
    said = [text.strip("[]") for text in re.findall(r"\[[0-9a-fA-F:]+\]|\d+\.\d+\.\d+\.\d+", detail)]
    with contextlib.suppress(OSError):
        said += [str(row[4][0]) for row in socket.getaddrinfo(name, HTTP_PORT, type=socket.SOCK_STREAM)]
    for text in said:
        with contextlib.suppress(ValueError):
            # That a host calls itself by a loopback address says nothing of the DNS.
            if not _is_local(ipaddress.ip_address(text)):
                return text
    return ""


def life_of(certificate: Path) -> Life | None:
    """When a certificate begins and ends; None where there is none to be read."""
    done = run("openssl", "x509", "-noout", "-startdate", "-enddate", "-in", str(certificate))
    dates = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if done.returncode != 0:
        return None
    return Life(*(float(ssl.cert_time_to_seconds(dates[name])) for name in ("notBefore", "notAfter")))


def read_tries(order: Order) -> Tries:
    """What was tried in vain for this order; nothing for another one."""
    try:
        tries = Tries.told(json.loads(RECORD.read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return Tries()
    return tries if tries.lineage == order.lineage else Tries()


def remember(order: Order, error: AcmeError, now: float) -> None:
    """Keep for the next run what was tried, and why it failed."""
    make_directories()
    times = (*read_tries(order).times, now)[-TRIES:]
    tries = Tries(order.lineage, times, str(error), error.not_before)
    text = json.dumps(dataclasses.asdict(tries))
    record = owned_files.OwnedFile(RECORD, f"{text}\n".encode(), owner=OWNER, group=GROUP)
    owned_files.swap(owned_files.stage([record]))


def forget(order: Order, others: bool = False) -> None:
    """Remove what was given, keys above all, for this order or for all others; accounts stay."""
    config = OWN / "config"
    for path in [*config.glob("live/dlhost-*"), *config.glob("archive/dlhost-*"), *config.glob("renewal/dlhost-*")]:
        if (path.name.removesuffix(".conf") != order.lineage) == others:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def make_directories() -> None:
    """What nginx reads is open to everybody whatever the umask is, what certbot keeps to nobody."""
    challenges = WEBROOT / CHALLENGE
    for path in (STATE, WEBROOT, challenges.parent, challenges, OWN, OWN / "logs"):
        path.mkdir(exist_ok=True)
        path.chmod(0o700 if path.is_relative_to(OWN) else 0o755)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local


def _said(error: object) -> str:
    return str(getattr(error, "strerror", None) or error)


def _seconds(text: str) -> float:
    """A time of the whole world as certbot writes it, in seconds of the epoch."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S")))
