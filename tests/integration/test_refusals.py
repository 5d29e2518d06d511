"""Bad input: a clear sentence, and the guest unharmed."""

import pytest
from pair import Pair

from lab.qemu import GuestSpec, Lab


@pytest.fixture(scope="module")
def pair(machine):
    with Lab("refusals") as lab:
        pair = Pair(lab)
        pair.start_guest(GuestSpec(run="stream-server,echo-server,counter"))
        yield pair


def refused(pair, words: list[str], *fragments: str) -> str:
    """The command fails, says why in one sentence with these fragments, and the guest goes on."""
    done = pair.lab.remus("A", *words, check=False, timeout=90)
    said = done.stdout + done.stderr
    assert done.returncode not in (0, -6, -11), said
    for fragment in fragments:
        assert fragment.lower() in said.lower(), said
    assert pair.guest.shell("echo alive").strip() == "alive", "the guest runs and speaks"
    return said


def protect_words(qmp: str = "/run/host/web1.qmp", name: str = "web1", to: str = "hostB") -> list[str]:
    return ["protect", name, "--qmp", qmp, "--to", to]


def test_no_such_socket(pair):
    refused(pair, protect_words("/run/host/nothing.qmp"), "/run/host/nothing.qmp")


def test_not_a_socket(pair):
    pair.lab.host("A").write("/run/host/plain", "text")
    refused(pair, protect_words("/run/host/plain"), "/run/host/plain")


def test_not_qemu(pair):
    refused(pair, protect_words("/run/remus/remusd.sock"), "/run/remus/remusd.sock")


def test_bad_name(pair):
    refused(pair, protect_words(name="../etc"), "name")


def test_unknown_host(pair):
    refused(pair, protect_words(to="hostC"), "hostC")


def test_guest_in_migration(pair):
    with pair.guest.qmp(pair.lab.host("A")) as qmp:
        qmp.command("migrate-set-parameters", **{"max-bandwidth": 4096})
        qmp.command("migrate", uri="exec:cat > /dev/null")
        try:
            refused(pair, protect_words(), "migrat")
        finally:
            qmp.command("migrate_cancel")
            qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 30})


def test_backup_without_memory(pair):
    host = pair.lab.host("B")
    host.run(["dd", "if=/dev/zero", "of=/dev/shm/filler", "bs=1M"], check=False, timeout=120)
    try:
        refused(pair, protect_words(), "MiB")
    finally:
        host.run(["rm", "-f", "/dev/shm/filler"])


def test_same_name_twice(pair):
    pair.protect()
    pair.wait_protected()
    refused(pair, protect_words(), "web1", "already")
    pair.unprotect()


def test_disk_without_replication(pair):
    pair.lab.host("A").run(["truncate", "-s", "16M", "/run/host/disk.raw"])
    with pair.guest.qmp(pair.lab.host("A")) as qmp:
        qmp.command("blockdev-add", driver="raw", **{"node-name": "d0", "file": {"driver": "file", "filename": "/run/host/disk.raw"}})
        qmp.command("device_add", driver="virtio-blk-pci", drive="d0", id="disk0")
        refused(pair, protect_words(), "disk")
