"""Bad input: a clear sentence, and the guest unharmed."""

import contextlib

import pytest
from eventually import eventually
from pair import Pair, new_lab
from unharmed import REAL_QEMU, protect_words, refused, stand_in

from lab.qemu import GuestSpec

# What `remus` exits with: docs/man/remus.1.md.
INVALID, NOT_FOUND, EXISTS, REFUSED, INCOMPATIBLE, EXHAUSTED = 2, 3, 4, 5, 7, 10


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("refusals") as lab:
        pair = Pair(lab)
        pair.start_guest(GuestSpec(run="stream-server,echo-server,counter"))
        yield pair


pytestmark = pytest.mark.usefixtures("unharmed")


# -- what is named is wrong --------------------------------------------------------------------------------------


def test_no_such_socket(pair):
    refused(pair, protect_words("/run/host/nothing.qmp"), "/run/host/nothing.qmp", "start the guest with -qmp")


def test_not_a_socket(pair):
    pair.lab.host("A").write("/run/host/plain", "text")
    refused(pair, protect_words("/run/host/plain"), "/run/host/plain")


def test_not_qemu(pair):
    refused(pair, protect_words("/run/remus/remusd.sock"), "/run/remus/remusd.sock")


def test_qmp_socket_of_nobody(pair):
    """A socket file whose QEMU has ended."""
    script = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/run/host/stale.qmp'); s.listen()"
    pair.lab.host("A").run(["/usr/bin/python3", "-c", script])
    refused(pair, protect_words("/run/host/stale.qmp"), "/run/host/stale.qmp")


def test_bad_name(pair):
    refused(pair, protect_words(name="../etc"), "name", status=INVALID)


def test_unknown_host(pair):
    refused(pair, protect_words(to="hostC"), "hostC", "remus host add", status=NOT_FOUND)


def test_to_itself(pair):
    refused(pair, protect_words(to="hostA"), "hostA", "another", status=INVALID)


# -- the guest cannot be protected now ---------------------------------------------------------------------------


def test_guest_in_migration(pair):
    with pair.guest.qmp(pair.lab.host("A")) as qmp:
        qmp.command("migrate-set-parameters", **{"max-bandwidth": 4096})
        qmp.command("migrate", uri="exec:cat > /dev/null")
        try:
            refused(pair, protect_words(), "migrat", "cancel", status=REFUSED)
            assert qmp.command("query-migrate")["status"] == "active", "the user's migration is not touched"
        finally:
            qmp.command("migrate_cancel")
            qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
        eventually(lambda: qmp.command("query-migrate")["status"] == "cancelled", 10, what="the migration ends")


def test_guest_paused_by_its_user(pair):
    with pair.guest.qmp(pair.lab.host("A")) as qmp:
        qmp.command("stop")
        try:
            refused(pair, protect_words(), "not running", "cont", status=REFUSED)
            assert qmp.command("query-status")["status"] == "paused", "the user's pause is not touched"
        finally:
            qmp.command("cont")


# -- the backup cannot carry it ----------------------------------------------------------------------------------


def on_backup(text: str) -> str:
    """A stand-in for QEMU that changes what it is called with."""
    return (
        "#!/bin/sh\nfor word do\n  shift\n"
        f"  set -- \"$@\" \"$(printf %s \"$word\" | sed '{text}')\"\ndone\n"
        f"exec {REAL_QEMU} -L /usr/share/qemu -L /usr/share/seabios -L /usr/lib/ipxe/qemu \"$@\"\n"
    )


def test_backup_has_another_version(pair):
    script = "#!/bin/sh\necho 'QEMU emulator version 6.1.0 (of a test)'\n"
    with stand_in(pair.lab.host("B"), script):
        refused(pair, protect_words(), "6.1.0", "same version", status=INCOMPATIBLE)


def test_backup_has_no_qemu(pair):
    with stand_in(pair.lab.host("B"), "#!/bin/sh\necho hello\n"):
        refused(pair, protect_words(), "does not look like QEMU", status=INCOMPATIBLE)


def test_backup_qemu_cannot_be_run(pair):
    with stand_in(pair.lab.host("B"), "#!/bin/sh\necho 'error while loading shared libraries' >&2; exit 127\n"):
        refused(pair, protect_words(), "shared libraries")


LYING_QEMU = f"""#!/bin/sh
[ "$1" = --version ] && exec {REAL_QEMU} --version
exec /usr/bin/python3 - "$@" <<'END'
import json, re, socket, sys
path = next(re.search("path=([^,]+)|unix:([^,]+)", word) for word in sys.argv if ".sock" in word)
server = socket.socket(socket.AF_UNIX)
server.bind(path.group(1) or path.group(2))
server.listen()
peer = server.accept()[0]
peer.sendall(b'{{"QMP": {{"version": {{"qemu": {{"micro": 0, "minor": 1, "major": 6}}, "package": ""}}, "capabilities": []}}}}\\n')
for line in peer.makefile():
    peer.sendall(json.dumps({{"return": {{}}, "id": json.loads(line).get("id")}}).encode() + b"\\n")
END
"""


def test_backup_qemu_is_another_than_it_said(pair):
    """--version is right, but what was started greets with another one."""
    with stand_in(pair.lab.host("B"), LYING_QEMU):
        refused(pair, protect_words(), "6.1.0", "same version", status=INCOMPATIBLE)


def test_backup_lacks_the_machine_type(pair):
    with stand_in(pair.lab.host("B"), on_backup(r"s/pc-i440fx-[0-9.]*/pc-i440fx-99.0/; s/^pc\>/pc-99.0/")):
        refused(pair, protect_words(), "unsupported machine type", status=INCOMPATIBLE)


def test_backup_lacks_a_device(pair):
    with stand_in(pair.lab.host("B"), on_backup("s/virtio-net-pci/virtio-net-of-tomorrow/")):
        refused(pair, protect_words(), "virtio-net-of-tomorrow", "not a valid device model", status=INCOMPATIBLE)


def test_backup_lacks_the_bridge(pair):
    refused(pair, [*protect_words(), "--bridge", "br0=lan7"], "lan7", "bridge", status=NOT_FOUND)


def test_backup_lacks_a_file(pair):
    """What the guest's QEMU opens must be there; here its kernel is another one."""
    host = pair.lab.host("B")
    kernel = pair.guest.spec.command()
    path = kernel[kernel.index("-kernel") + 1]
    host.write("/run/host/kernel", "not the kernel")
    host.run(["mount", "--bind", "/run/host/kernel", path])
    try:
        refused(pair, protect_words(), path, "bytes", status=INCOMPATIBLE)
    finally:
        host.run(["umount", path])


@contextlib.contextmanager
def filled(host, directory: str):
    host.run(["dd", "if=/dev/zero", f"of={directory}/filler", "bs=1M"], check=False, timeout=120)
    try:
        yield
    finally:
        host.run(["rm", "-f", f"{directory}/filler"])


def test_backup_without_memory(pair):
    host = pair.lab.host("B")
    host.run(["mount", "-o", "remount,size=128M", "/dev/shm"])
    try:
        refused(pair, protect_words(), "MiB", "/dev/shm", status=EXHAUSTED)
    finally:
        host.run(["mount", "-o", f"remount,size={host.shm_size}", "/dev/shm"])


def test_backup_with_full_disk(pair):
    with filled(pair.lab.host("B"), "/var/lib/remus"):
        refused(pair, protect_words(), "/var/lib/remus")


def test_primary_with_full_disk(pair):
    """The generation could not be recorded: found before anything begins."""
    with filled(pair.lab.host("A"), "/var/lib/remus"):
        refused(pair, protect_words(), "/var/lib/remus")


def test_backup_is_off(pair):
    host = pair.lab.host("B")
    for pid in host.pids("remusd"):
        host.signal(pid, 15)
    eventually(lambda: not host.pids("remusd"), 10, what="remusd ends")
    refused(pair, protect_words(), "hostB", "does not answer", status=8)
    pair.lab.start_remus("B")


# -- protected, and asked for what does not go together ---------------------------------------------------------


def test_same_name_twice_and_plain_protection_works(pair, session):
    """After all these refusals, nothing is in the way of a good request."""
    pair.protect()
    pair.wait_protected()
    try:
        refused(pair, protect_words(), "web1", "already", status=EXISTS)
        refused(pair, protect_words(name="web2"), "web1")
        pair.client_moves(session.session)
        pair.wait_for_commits(2)
    finally:
        pair.unprotect()


def test_disk_without_replication(pair, session):
    pair.lab.host("A").run(["truncate", "-s", "16M", "/run/host/disk.raw"])
    with pair.guest.qmp(pair.lab.host("A")) as qmp:
        qmp.command("blockdev-add", driver="raw", **{"node-name": "d0", "file": {"driver": "file", "filename": "/run/host/disk.raw"}})
        qmp.command("device_add", driver="virtio-blk-pci", drive="d0", id="disk0")
        refused(pair, protect_words(), "disk", status=REFUSED)
