"""Certificates that are wrong, of this host, of the other, or of an impostor: refused with the reason, and mended by putting
right files in their place, without a restart."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import certificates
import pytest
from eventually import eventually
from pair import Pair, new_lab, settle
from unharmed import protect_words, refused

from lab.common import remus
from lab.qemu import GuestSpec
from lab.qemu.host import Host

INVALID, UNREACHABLE, DENIED = 2, 8, 9
OWN_CA, FOREIGN_CA = "/run/remus-ca", "/run/foreign-ca"


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("bad-certificates") as lab:
        pair = Pair(lab)
        lab.remus("A", "cert", "init", FOREIGN_CA)
        pair.start_guest(GuestSpec(run="stream-server,echo-server,counter"))
        yield pair


# -- what can be wrong with a host's files ----------------------------------------------------------------------


def pki(host: Host) -> Path:
    return host.path(remus.PKI)


@contextlib.contextmanager
def restored(*hosts: Host) -> Iterator[None]:
    """What is done to these hosts' certificates ends with this."""
    kept = {host.name: host.directory / "pki-kept" for host in hosts}
    for host in hosts:
        shutil.copytree(pki(host), kept[host.name])
    try:
        yield
    finally:
        for host in hosts:
            for file in pki(host).iterdir():
                file.unlink()
            for file in kept[host.name].iterdir():
                shutil.copy2(file, pki(host) / file.name)
            shutil.rmtree(kept[host.name])


def issue(pair: Pair, onto: Host, authority: str = OWN_CA, name: str | None = None) -> None:
    remus.issue_certificate(pair.lab.host("A"), authority, name or f"host{onto.name}", onto)


def expired(pair, host):
    certificates.issue_expired(pair.lab.host("A"), OWN_CA, f"host{host.name}", "/run/expired")
    certificates.copy(pair.lab.host("A"), "/run/expired", host)


def foreign(pair, host):
    issue(pair, host, FOREIGN_CA)


def of_another_host(pair, host):
    issue(pair, host, OWN_CA, "hostX")


def without_key(pair, host):
    (pki(host) / "host.key").unlink()


def without_directory(pair, host):
    for file in pki(host).iterdir():
        file.unlink()


def with_another_key(pair, host):
    certificate = (pki(host) / "host.crt").read_bytes()
    issue(pair, host)
    (pki(host) / "host.crt").write_bytes(certificate)


def with_another_ca(pair, host):
    authority = pair.lab.host("A").path(FOREIGN_CA) / "ca.crt"
    (pki(host) / "ca.crt").write_bytes(authority.read_bytes())


def empty(pair, host):
    (pki(host) / "host.crt").write_bytes(b"")


def half_copied(pair, host):
    whole = (pki(host) / "host.crt").read_bytes()
    (pki(host) / "host.crt").write_bytes(whole[: len(whole) // 2])


def readable_key(pair, host):
    (pki(host) / "host.key").chmod(0o644)


def revoked_by_the_other(pair, host):
    other = pair.lab.host("B" if host.name == "A" else "A")
    shown = pair.lab.remus_json(host.name, "cert", "show", f"{remus.PKI}/host.crt")
    other.write(f"{remus.PKI}/revoked", f"# stolen\n{shown['fingerprint_sha256']}\n")


def with_unreadable_revocations(pair, host):
    host.write(f"{remus.PKI}/revoked", "# retired\nnot a fingerprint\n")


# What the administrator on A is told when A's own files are wrong.
OWN = [
    (expired, ["host.crt", "expired", "remus cert issue"]),
    (of_another_host, ["hostX", "remus host add"]),
    (foreign, ["not signed by this cluster's CA"]),
    (without_key, ["host.key", "no such file"]),
    (without_directory, [remus.PKI, "no such file"]),
    (with_another_key, ["host.key", "is not the key of"]),
    (with_another_ca, ["was not signed by"]),
    (empty, ["host.crt"]),
    (half_copied, ["host.crt"]),
    (readable_key, ["host.key", "0644", "chmod 600"]),
    (revoked_by_the_other, ["revoked", "remus cert issue"]),
    (with_unreadable_revocations, ["line 2", "revoked", "fingerprint"]),
]

# What he is told when B's are, and what B's log says where B cannot tell him.
OTHERS = [
    (expired, ["hostB", "see the log of that host"], "expired"),
    (of_another_host, ["hostX", "expected was hostB"], None),
    (foreign, ["not signed by this cluster's CA"], None),
    (without_key, ["hostB", "see the log of that host"], "host.key"),
    (with_another_key, ["hostB", "see the log of that host"], "is not the key of"),
    (empty, ["hostB", "see the log of that host"], "host.crt"),
    (readable_key, ["hostB", "see the log of that host"], "chmod 600"),
    (revoked_by_the_other, ["hostB", "has been revoked"], None),
    (with_unreadable_revocations, ["see the log of that host"], "line 2"),
]


@pytest.mark.parametrize(("wrong", "told"), OWN, ids=[case[0].__name__ for case in OWN])
def test_own_certificate(pair, session, wrong, told):
    with restored(pair.lab.host("A"), pair.lab.host("B")):
        wrong(pair, pair.lab.host("A"))
        refused(pair, protect_words(), *told)
        session()
        session.nothing_left()


@pytest.mark.parametrize(("wrong", "told", "logged"), OTHERS, ids=[case[0].__name__ for case in OTHERS])
def test_other_hosts_certificate(pair, session, wrong, told, logged):
    log = pair.lab.host("B").directory / "remusd.log"
    with restored(pair.lab.host("A"), pair.lab.host("B")):
        before = len(log.read_text(errors="replace"))
        wrong(pair, pair.lab.host("B"))
        refused(pair, protect_words(), *told)
        if logged:
            eventually(lambda: logged in log.read_text(errors="replace")[before:], 15, what=f"B's log says {logged}")
        session()
        session.nothing_left()


# -- an impostor in the other host's place ----------------------------------------------------------------------

IMPOSTOR = """
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/impostor/host.crt", "/run/impostor/host.key")
server = socket.create_server(("0.0.0.0", 7600), reuse_port=False)
print("ready", flush=True)
while True:
    try:
        context.wrap_socket(server.accept()[0], server_side=True).read()
    except OSError:
        pass
"""

IMPOSTORS = {
    "expired": (OWN_CA, "hostB", ["hostB", "expired"]),
    "foreign": (FOREIGN_CA, "hostB", ["not signed by this cluster's CA"]),
    "another": (OWN_CA, "hostX", ["hostX", "expected was hostB"]),
}


@pytest.mark.parametrize("kind", IMPOSTORS)
def test_impostor_in_place_of_the_backup(pair, session, kind):
    """Whatever listens on the backup's port: without its certificate it gets not a byte of the guest."""
    authority, name, told = IMPOSTORS[kind]
    a, b = pair.lab.host("A"), pair.lab.host("B")
    if kind == "expired":
        certificates.issue_expired(a, authority, name, "/run/impostor")
    else:
        pair.lab.remus("A", "cert", "issue", authority, name, "/run/impostor")
    certificates.copy(a, "/run/impostor", b, "/run/impostor")
    for pid in b.pids("remusd"):
        b.signal(pid, 15)
    eventually(lambda: not b.pids("remusd"), 10, what="remusd ends")
    impostor = b.spawn(["/usr/bin/python3", "-c", IMPOSTOR], name=f"impostor-{kind}")
    try:
        eventually(lambda: "ready" in impostor.log.read_text(), 10, what="the impostor listens")
        refused(pair, protect_words(), *told, status=DENIED)
        session()
    finally:
        impostor.stop()
        pair.lab.start_remus("B")
    session.nothing_left()


# -- while protected --------------------------------------------------------------------------------------------


@pytest.fixture
def protected(pair, session):
    """After all that was refused, a plain `remus protect` works; the session comes through what follows."""
    pair.protect()
    pair.wait_protected()
    yield session.session
    pair.wait_protected()
    pair.wait_for_commits(2)
    pair.client_moves(session.session)
    assert pair.guard("B").get("state") not in ("active", "activating")
    pair.unprotect()
    session()
    session.nothing_left()


def why_not_linked(pair) -> str:
    """What the primary's guard says of its link while it is not up, else nothing."""
    guard = pair.guard("A")
    if guard.get("link", {}).get("state") == "up":
        return ""
    return (guard.get("last_error") or {}).get("what", "")


@pytest.mark.parametrize(("wrong", "told"), [(foreign, "not signed by"), (of_another_host, "expected was hostB")],
                         ids=["foreign", "another"])
def test_guards_of_a_host_with_a_wrong_certificate(pair, protected, wrong, told):
    """What is connected stays; a connection that is broken does not come back until the right files are back."""
    link = pair.lab.link("repl")
    with restored(pair.lab.host("B")):
        wrong(pair, pair.lab.host("B"))
        pair.wait_for_commits(3)
        link.cut()
        try:
            eventually(lambda: told in why_not_linked(pair), 40, what=f"the guard says: {told}")
        finally:
            link.restore()
        settle(2)
        pair.client_moves(protected)
        assert not pair.is_protected(), "the state shown is true"
        assert pair.guard("B").get("state") not in ("active", "activating", "claiming")
    pair.wait_protected()


def test_backup_that_cannot_ask_takes_nothing_over(pair, protected):
    """The backup's own certificate has expired and its connections are gone: that it hears nothing from the primary's host, which
    answers on the LAN, is no sign of that host's death."""
    link = pair.lab.link("repl")
    with restored(pair.lab.host("B")):
        expired(pair, pair.lab.host("B"))
        pair.restart_daemon("A")
        link.cut()
        try:
            pair.client_moves(protected)
            settle(5)
            assert pair.guard("B").get("state") not in ("active", "activating", "claiming"), pair.guard("B")
            pair.client_moves(protected)
        finally:
            link.restore()
    pair.wait_protected()


def test_primary_that_shows_no_valid_certificate_is_not_taken_for_dead(pair, protected):
    """The same, the other way round: the primary's host closes every connection, for its own certificate has expired."""
    link = pair.lab.link("repl")
    with restored(pair.lab.host("A")):
        expired(pair, pair.lab.host("A"))
        pair.restart_daemon("B")
        link.cut()
        try:
            settle(5)
            assert pair.guard("B").get("state") not in ("active", "activating", "claiming"), pair.guard("B")
            pair.client_moves(protected)
        finally:
            link.restore()
    pair.wait_protected()
