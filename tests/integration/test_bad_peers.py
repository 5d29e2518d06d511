"""Garbage to everything the product listens on, while a guest is protected: protection is not disturbed, the connection is ended within
its bound, and the log tells of it without being filled."""

import json
import os
import random
import socket
import ssl
import time

import certificates
import pytest
import rude
from eventually import eventually
from pair import Pair, new_lab
from rude import Rude, frame, hello, said_until_closed, send

from lab.common import remus
from lab.common.network import HOSTS
from lab.qemu import GuestSpec

PEER_PORT = 7600
CLIENT = "10.77.0.100"
HANDSHAKE_S = 5  # docs/protocol.md; here with room for a slow machine
BOUND_S = HANDSHAKE_S + 15
# "Not disturbed" is to mean by what these tests do, not by a machine that stands still for some seconds.
PATIENT = '[defaults]\ndetect_min = "10s"\ndetect_max = "20s"\nalone_after = "40s"\n'


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("bad-peers") as lab:
        pair = Pair(lab, PATIENT)
        pair.start_guest(GuestSpec(run="stream-server,echo-server,counter"))
        pair.protect()
        pair.wait_protected()
        yield pair


@pytest.fixture(scope="module")
def stranger(pair, tmp_path_factory):
    """Certificates: of an enrolled host nobody knows, and of another cluster's CA with host A's name."""
    a = pair.lab.host("A")
    pair.lab.remus("A", "cert", "issue", "/run/remus-ca", "hostX", "/run/strangers/enrolled")
    pair.lab.remus("A", "cert", "init", "/run/foreign-ca")
    pair.lab.remus("A", "cert", "issue", "/run/foreign-ca", "hostA", "/run/strangers/foreign")
    certificates.issue_expired(a, "/run/remus-ca", "hostA", "/run/strangers/expired")
    return a.path("/run/strangers")


@pytest.fixture(scope="module")
def session(pair):
    session = pair.lab.stream(pair.guest)
    yield session
    verdict = session.finish()
    assert verdict["ok"], verdict["reasons"]


@pytest.fixture(scope="class", autouse=True)
def undisturbed(pair, session):
    """Around each test, or class of tests: the same processes, the same link, commits and session going on."""
    before = processes(pair), pair.guard()["session"]
    yield
    pair.wait_for_commits(2)
    pair.client_moves(session)
    assert (processes(pair), pair.guard()["session"]) == before, "protection was disturbed"
    assert pair.is_protected()


def processes(pair) -> dict:
    found = {}
    for name in "AB":
        host = pair.lab.host(name)
        found[name] = {comm: pid for pid, comm in host.processes().items() if comm.startswith("remus")}
    return found


def ports(pair) -> dict[str, tuple[str, int]]:
    """Every TCP port on which something of the product listens."""
    found = {}
    for name in "AB":
        lines = pair.lab.host(name).run(["ss", "-Hltnp"]).stdout.splitlines()
        for line in lines:
            if "remus" in line:
                port = int(line.split()[3].rpartition(":")[2])
                found[f"{name}:{port}"] = (HOSTS[name].lan, port)
    assert len(found) == 3, f"two daemons and the backup's guard: {found}"
    return found


def guard_port(pair) -> tuple[str, int]:
    return next(address for label, address in ports(pair).items() if not label.endswith(str(PEER_PORT)))


@pytest.fixture(scope="module")
def peer(pair):
    return Rude(pair.lab)


# -- strangers --------------------------------------------------------------------------------------------------

SEED = 2
NO_TLS = {
    "random": random.Random(SEED).randbytes(100_000),
    "zeros": bytes(100_000),
    "http": b"GET /v1/guests HTTP/1.1\r\nHost: x\r\n\r\n",
    "frame": frame(rude.HELLO, hello()),
    "a record that never ends": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "half a record": b"\x16\x03\x01\x02\x00\x01\x00",
    "nothing, and end": b"",
}


def test_no_tls(pair, peer):
    connections = [(where, what, peer.plain(address)) for where, address in ports(pair).items() for what in NO_TLS]
    for _, what, connection in connections:
        send(connection, NO_TLS[what])
        if what.endswith("end"):
            connection.shutdown(socket.SHUT_WR)
    for where, what, connection in connections:
        said = said_until_closed(connection, BOUND_S)
        assert b"HTTP" not in said and b"RMUS" not in said, f"{where}, {what}: {said[:100]}"


def test_old_tls(pair, peer):
    for address in ports(pair).values():
        with pytest.raises(OSError):
            peer.tls(address, None, maximum_version=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("who", ["nobody", "foreign", "expired"])
def test_not_enrolled(pair, peer, stranger, who):
    """TLS 1.3 lets a client speak before it learns that it is refused: nothing it says may be answered."""
    for address in ports(pair).values():
        try:
            connection = peer.tls(address, None if who == "nobody" else stranger / who)
        except ssl.SSLError:
            continue
        send(connection, frame(rude.HELLO, hello()) + b"GET /v1/peer/hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert said_until_closed(connection, BOUND_S) == b"", address


def test_enrolled_but_not_the_peer(pair, peer, stranger):
    """Another host of the cluster: the guard lets only its guest's primary in, the daemon only hosts it knows."""
    try:
        connection = peer.tls(guard_port(pair), stranger / "enrolled")
        send(connection, frame(rude.HELLO, hello(host="hostX")))
        assert said_until_closed(connection, BOUND_S) == b""
    except ssl.SSLError:
        pass
    for name in "AB":
        connection = peer.tls((HOSTS[name].lan, PEER_PORT), stranger / "enrolled")
        status, answer = ask(connection, "GET", "/v1/peer/guests/web1/report")
        assert status == 403 and "not a peer" in answer["error"]["what"]


def test_many_that_say_nothing(pair, peer):
    """More connections than there is room for, held open: enrolled hosts get through all the same, and each ends in its bound."""
    held = {address: [peer.plain(address) for _ in range(150)] for address in ports(pair).values()}
    started = time.monotonic()
    peers = pair.lab.remus_json("A", "host", "list")
    assert "true" in json.dumps(peers), peers
    pair.wait_for_commits(2)
    for connections in held.values():
        for connection in connections:
            assert said_until_closed(connection, BOUND_S) == b""
    assert time.monotonic() - started < 3 * BOUND_S


def test_trickle(pair, peer):
    """A byte now and then does not prolong the bound."""
    waiting = {where: peer.plain(address) for where, address in ports(pair).items()}
    until = time.monotonic() + BOUND_S
    for byte in b"\x16\x03\x01\x02\x00" + bytes(1000):
        for where, connection in list(waiting.items()):
            connection.settimeout(0.1)
            try:
                connection.send(bytes([byte]))
                closed = connection.recv(100) == b""
            except TimeoutError:
                closed = False
            except OSError:
                closed = True
            if closed:
                waiting.pop(where).close()
        if not waiting or time.monotonic() > until:
            break
    assert not waiting, f"still open: {list(waiting)}"


def test_log_tells_and_is_not_filled(pair, peer):
    logs = {
        "remusd on A": pair.lab.host("A").directory / "remusd.log",
        "remusd on B": pair.lab.host("B").directory / "remusd.log",
        "guard on B": pair.lab.host("B").directory / "host" / "web1.backup.log",
    }
    before = {who: len(log.read_text(errors="replace")) for who, log in logs.items()}
    for _ in range(100):
        for address in ports_once(pair):
            connection = peer.plain(address)
            send(connection, b"garbage, and nothing but garbage\r\n\r\n")
            connection.close()
    time.sleep(11)  # after that, one of each tells how many there were
    for address in ports_once(pair):
        connection = peer.plain(address)
        send(connection, b"garbage once more\r\n\r\n")
        said_until_closed(connection, BOUND_S)

    def rejections(who: str) -> list[str]:
        lines = logs[who].read_text(errors="replace")[before[who]:].splitlines()
        return [line for line in lines if "rejected" in line and CLIENT in line]

    for who in logs:
        eventually(lambda who=who: any("like it before" in line for line in rejections(who)), 10, what=f"the log of {who} tells")
        assert len(rejections(who)) <= 12, f"{who}: {rejections(who)}"


_known_ports: dict = {}


def ports_once(pair) -> list:
    if pair not in _known_ports:
        _known_ports[pair] = list(ports(pair).values())
    return _known_ports[pair]


# -- an enrolled peer that has gone mad -------------------------------------------------------------------------

FRAMES = {
    "garbage": (random.Random(SEED).randbytes(10_000), "magic"),
    "oversize": (frame(rude.HELLO, length=0xFFFFFFFF), ""),
    "oversize for a hello": (frame(rude.HELLO, length=900_000), ""),
    "other frame version": (frame(rude.HELLO, hello(), version=9), "version"),
    "bad checksum": (frame(rude.HELLO, hello(), checksum=7), "checksum"),
    "out of sequence": (frame(rude.HELLO, hello(), sequence=5), ""),
    "unknown flags": (frame(rude.HELLO, hello(), flags=0x80), ""),
    "no hello": (frame(rude.HEARTBEAT, bytes(16)), ""),
    "pages first": (frame(rude.EPOCH_PAGES, bytes(100), flags=2), ""),
    "unknown message": (frame(777, b"x"), ""),
    "empty hello": (frame(rude.HELLO), ""),
    "hello cut inside": (frame(rude.HELLO, hello()[:20]), ""),
    "hello with a huge name": (frame(rude.HELLO, b"\1\0\1\0\xff\xff\xff\xff" + bytes(50)), ""),
    "protocol of tomorrow": (frame(rude.HELLO, hello(versions=(40, 41))), "version"),
    "versions the wrong way round": (frame(rude.HELLO, hello(versions=(2, 1))), ""),
    "in the name of another": (frame(rude.HELLO, hello(host="hostB")), "certificate"),
    "another guest": (frame(rude.HELLO, hello(guest="db1")), "web1"),
    "description is no JSON": (frame(rude.HELLO, hello(description=b"{{{")), ""),
    "description is a tower": (frame(rude.HELLO, hello(description=b"[" * 130_000 + b"]" * 130_000)), ""),
}


TRUNCATED = [0, 1, 31, 32, 40, 60]


def ask(connection, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, dict]:
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    send(connection, request.encode() + body)
    return parse(said_until_closed(connection, 40))


def parse(answer: bytes) -> tuple[int, dict]:
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), answer[:200]
    return int(head.split()[1]), json.loads(content)


PEER_REQUESTS = {
    "empty body": ("POST", "/v1/peer/standbys", b"", "guest"),
    "no JSON": ("POST", "/v1/peer/standbys", b"{guest", "JSON"),
    "a tower": ("POST", "/v1/peer/standbys", b'{"guest":' + b"[" * 300_000 + b"]" * 300_000 + b"}", "JSON"),
    "wrong types": ("POST", "/v1/peer/standbys", b'{"guest": 1, "generation": "x", "description": {}}', "guest"),
    "unknown field": ("POST", "/v1/peer/standbys", b'{"guest": "g", "generation": 1, "rm": "-rf"}', ""),
    "bad name": ("POST", "/v1/peer/standbys",
                 b'{"guest": "../../etc", "generation": 1, "description": {"hypervisor": "qemu", "version": "7.2.0", '
                 b'"memory_bytes": 1048576, "details": {}}}', "name"),
    "another hypervisor": ("POST", "/v1/peer/standbys",
                           b'{"guest": "odd1", "generation": 1, "description": {"hypervisor": "abacus", "version": "1", '
                           b'"memory_bytes": 1048576, "details": {}}}', "abacus"),
    "empty description": ("POST", "/v1/peer/standbys",
                          b'{"guest": "odd2", "generation": 1, "description": {"hypervisor": "qemu", "version": "7.2.0", '
                          b'"memory_bytes": 1048576, "details": {}}}', ""),
    "unknown path": ("GET", "/v1/guests", b"", "no such path"),
    "escape": ("GET", "/v1/peer/guests/%2e%2e%2fweb1/report", b"", ""),
    "bad escape": ("GET", "/v1/peer/guests/%zz/report", b"", ""),
    "wrong method": ("DELETE", "/v1/peer/hello", b"", "GET"),
    "not there": ("DELETE", "/v1/peer/standbys/nothing", b"", "nothing"),
}


class TestMadPeer:
    """An enrolled host, this guest's own primary even, that sends nonsense."""

    @pytest.mark.parametrize("what", FRAMES)
    def test_mad_primary(self, pair, peer, what):
        data, told = FRAMES[what]
        connection = peer.tls(guard_port(pair), pair.lab.host("A").path(remus.PKI))
        send(connection, data)
        said = said_until_closed(connection, BOUND_S)
        sentence = rude.refusal(said)
        assert told.lower() in sentence.lower(), sentence

    def test_truncated_frames(self, pair, peer):
        """Cut at any place, by an end or by silence."""
        whole = frame(rude.HELLO, hello())
        waiting = []
        for place in TRUNCATED:
            for end in (True, False):
                connection = peer.tls(guard_port(pair), pair.lab.host("A").path(remus.PKI))
                send(connection, whole[:place])
                if end:
                    connection.close()
                else:
                    waiting.append(connection)
        for connection in waiting:
            said_until_closed(connection, BOUND_S)

    @pytest.mark.parametrize("what", PEER_REQUESTS)
    def test_mad_daemon(self, pair, peer, what):
        """Requests of an enrolled host that make no sense: answered with what is wrong; nothing of them is kept."""
        method, path, body, told = PEER_REQUESTS[what]
        connection = peer.tls((HOSTS["B"].lan, PEER_PORT), pair.lab.host("A").path(remus.PKI), timeout=40)
        status, answer = ask(connection, method, path, body)
        assert status >= 400, answer
        assert told.lower() in answer["error"]["what"].lower() + answer["error"].get("fix", "").lower(), answer
        assert "internal" != answer["error"]["kind"], answer
        assert [guest["name"] for guest in pair.lab.remus_json("B", "status")["guests"]] == ["web1"]


# -- the sockets on the host itself -----------------------------------------------------------------------------

LOCAL = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "random": (random.Random(SEED).randbytes(5000) + b"\r\n\r\n", 400),
    "huge header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "huge body": (b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + bytes(1_100_000), 413),
    "huge body in chunks": (b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                            + b"FFFFF\r\n" + bytes(0xFFFFF) + b"\r\nFFFFF\r\n" + bytes(0xFFFFF) + b"\r\n", 413),
    "negative length": (b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
}  # fmt: skip


def sockets(pair) -> dict[str, str]:
    found = {}
    for name in "AB":
        root = pair.lab.host(name).path("/run/remus")
        for file in [*root.glob("*.sock"), *root.glob("guards/*.sock")]:
            found[f"{name} {file.name}"] = str(file)
    assert len(found) == 4, found
    return found


def local(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(15)
    # A path through /proc/<pid>/root is long: a descriptor's is not.
    directory = os.open(os.path.dirname(path), os.O_PATH)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)
    return connection


ADMIN_REQUESTS = {
    "no JSON": ("POST", "/v1/guests", b"{name: web1}", 400, "JSON"),
    "not an object": ("POST", "/v1/guests", b"[1, 2]", 400, "JSON"),
    "no body": ("POST", "/v1/guests", b"", 400, "name"),
    "unknown field": ("POST", "/v1/guests", b'{"name": "x", "to": "hostB", "qpm": "/x"}', 400, "qpm"),
    "wrong type": ("POST", "/v1/guests", b'{"name": 7, "to": "hostB"}', 400, "name"),
    "out of range": ("PATCH", "/v1/guests/web1", b'{"interval": "1us"}', 400, "interval"),
    "unknown option": ("PATCH", "/v1/guests/web1", b'{"intervall": "50ms"}', 400, "interval"),
    "a tower": ("PATCH", "/v1/guests/web1", b'{"interval":' + b"[" * 300_000 + b"]" * 300_000 + b"}", 400, ""),
    "unknown guest": ("DELETE", "/v1/guests/nothing", b"", 404, "nothing"),
    "unknown path": ("GET", "/v2/guests", b"", 404, "no such path"),
    "wrong method": ("PUT", "/v1/guests", b"", 405, "GET"),
    "NUL": ("GET", "/v1/guests/%00", b"", 400, ""),
    "bad address": ("POST", "/v1/peers", b'{"name": "hostC", "addresses": ["::::"]}', 400, ""),
}


GUARD_REQUESTS = {
    "no JSON": ("POST", "/v1/adjust", b"{", 400),
    "no object": ("POST", "/v1/adjust", b'"x"', 400),
    "unknown option": ("POST", "/v1/adjust", b'{"intervall": "50ms"}', 400),
    "unknown path": ("GET", "/v1/everything", b"", 404),
    "wrong method": ("DELETE", "/v1/status", b"", 404),
    "wrong side": ("POST", "/v1/failover", b'{"force": "yes"}', None),
    "bad links": ("POST", "/v1/connect", b'{"links": ["nonsense"]}', None),
    "bad number": ("GET", "/v1/events?after=minus", b"", 200),
}


class TestLocalSockets:
    """What root or the group of the socket might send."""

    @pytest.mark.parametrize("what", LOCAL)
    def test_garbage_on_the_hosts_own_sockets(self, pair, what):
        data, status = LOCAL[what]
        for where, path in sockets(pair).items():
            connection = local(path)
            send(connection, data)
            got, answer = parse(said_until_closed(connection, 40))
            assert got == status, f"{where}: {answer}"
            assert answer["error"]["kind"] == "invalid", answer

    @pytest.mark.parametrize("what", ADMIN_REQUESTS)
    def test_bad_requests_to_the_daemon(self, pair, what):
        method, path, body, status, told = ADMIN_REQUESTS[what]
        connection = local(sockets(pair)["A remusd.sock"])
        got, answer = ask(connection, method, path, body)
        assert got == status, answer
        assert told.lower() in (answer["error"]["what"] + answer["error"].get("fix", "")).lower(), answer

    @pytest.mark.parametrize("what", GUARD_REQUESTS)
    def test_bad_requests_to_the_guards(self, pair, what):
        method, path, body, status = GUARD_REQUESTS[what]
        for where, socket_path in sockets(pair).items():
            if "remusd" in where:
                continue
            got, answer = ask(local(socket_path), method, path, body)
            assert got == status if status else got in (400, 404), f"{where}: {got} {answer}"
            assert status == 200 or answer["error"]["what"], where

    def test_silent_and_cut_local_connections(self, pair):
        """Held open without a word, or left in the middle of a request: others are served meanwhile."""
        held = []
        for path in sockets(pair).values():
            for half in (b"", b"GET /v1/st", b"POST /v1/guests HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"):
                connection = local(path)
                send(connection, half)
                held.append(connection)
                cut = local(path)
                send(cut, half)
                cut.close()
        assert pair.is_protected()
        for connection in held:
            connection.close()
