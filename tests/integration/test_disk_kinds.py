"""Disks of other kinds: volumes on either side, storage that both hosts see, and storage that somebody else replicates."""

import os
import subprocess
from pathlib import Path

import pytest
from account import DISK
from eventually import eventually
from pair import PATIENCE_S, Pair, new_lab, settle

from lab.qemu import GuestSpec

MIB = 16
LOOP = """
n=0
trap 'exit 0' TERM
while :; do
  n=$((n + 1))
  printf '%016d' $n | dd of=/dev/vdb bs=4096 conv=sync oflag=direct seek=$((n % 1000)) 2>/dev/null
  got=$(dd if=/dev/vdb bs=4096 count=1 iflag=direct skip=$((n % 1000)) 2>/dev/null | head -c 16)
  [ "$got" = "$(printf '%016d' $n)" ] || echo "write $n is lost: there is $got" >> /run/wrong
  echo $n > /run/round
done
"""


def spec(file: str, driver: str, more: str = "") -> GuestSpec:
    return GuestSpec(
        name="db", run="stream-server", disk=True,
        extra=("-blockdev", f"raw,node-name=vdb,file.driver={driver},file.filename={file}{more}",
               "-device", "virtio-blk-pci,drive=vdb,addr=0x10"),
    )  # fmt: skip


def start(lab, of: GuestSpec) -> Pair:
    """A guest that knows in its memory what it has written to its second disk."""
    pair = Pair(lab)
    pair.start_guest(of)
    pair.guest.shell(f"cat > /run/loop <<'END'\n{LOOP}\nEND\nsetsid bash /run/loop > /dev/null 2>&1 &")
    return pair


def rounds(pair) -> int:
    return int(pair.guest.shell("cat /run/round"))


def goes_on(pair) -> None:
    before = eventually(lambda: rounds(pair), PATIENCE_S, what="the guest writes")
    eventually(lambda: rounds(pair) > before + 3, PATIENCE_S, what="the guest writes on")
    assert pair.guest.shell("cat /run/wrong 2>/dev/null", check=False).strip() == ""


def all_is_there(pair) -> None:
    """What the guest's memory knows to be written is on the disk, or what it wrote after that memory's epoch."""
    script = (
        "n=$(cat /run/round); for back in $(seq 0 60); do i=$((n - back)); [ $i -gt 0 ] || break; "
        "got=$(dd if=/dev/vdb bs=4096 count=1 iflag=direct skip=$((i % 1000)) 2>/dev/null | head -c 16 | sed 's/^0*//'); "
        "[ \"${got:-0}\" -ge $i ] 2>/dev/null || echo \"$i: $got\"; done"
    )
    assert pair.guest.shell(script, timeout=60) == ""


def a_person_takes_over(pair, storage: Path, *, before=lambda: None) -> None:
    """The arbiter is a person: nothing happens, also to the storage, until he says that the primary is dead. `before`: what he
    does first."""
    backup = pair.backup
    refused = pair.lab.remus(backup, "failover", pair.name, "--yes", check=False)
    assert refused.returncode != 0 and pair.guard(backup)["state"] != "active", "the primary lives"
    pair.lab.host(pair.primary).power_cut()
    eventually(lambda: pair.guard(backup)["state"] in ("suspecting", "claiming", "stale"), PATIENCE_S, what="it waits for a person")
    content = storage.read_bytes()
    settle(2)
    assert pair.guard(backup)["state"] not in ("active", "activating"), "nobody has said that the primary is dead"
    assert storage.read_bytes() == content, "nobody writes meanwhile"
    before()
    eventually(lambda: pair.lab.remus(backup, "failover", pair.name, "--yes", check=False).returncode == 0, PATIENCE_S,
               what="the person's word is taken")  # fmt: skip
    pair.wait_active_on_backup()
    all_is_there(pair)
    goes_on(pair)
    assert storage.read_bytes() != content, "the guest writes to the storage it had"


@pytest.fixture
def volume(machine, tmp_path):
    """Makes block devices (loop devices) of this machine, and removes them."""
    made = []

    def make(name: str) -> str:
        file = tmp_path / name
        with open(file, "wb") as handle:
            handle.truncate(MIB << 20)
        done = subprocess.run(["losetup", "--find", "--show", file], text=True, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no loop devices here: {done.stderr.strip()}")
        made.append(done.stdout.strip())
        return made[-1]

    yield make
    for device in made:
        subprocess.run(["losetup", "--detach", device], check=False)


def test_a_volume_on_either_side(volume):
    of_primary, of_backup = volume("primary"), volume("backup")
    disks = ["--disk", DISK, "--disk", f"vdb,target={of_backup},overwrite"]
    with new_lab("volumes") as lab:
        pair = start(lab, spec(of_primary, "host_device"))
        pair.protect(*disks)
        pair.wait_protected()
        goes_on(pair)
        report = pair.lab.remus_json("A", "verify", pair.name, "--disks", timeout=120)
        assert report["blocks_different"] == 0 and report["blocks_compared"] > 0, report
        pair.lab.host("A").power_cut()
        pair.wait_active_on_backup()
        goes_on(pair)
        # And back: the old primary's volume is the replica now.
        pair.turn_round("--disk", DISK, "--disk", f"vdb,target={of_primary}")
        goes_on(pair)
        pair.lab.host("B").power_cut()
        pair.wait_active_on_backup()
        goes_on(pair)


def test_storage_that_both_hosts_see(machine):
    """One file, two hosts: the arbiter (a person) lets the second copy run once the first is known to be dead, not before; it finds
    all that was written, also after the last commit."""
    with new_lab("shared") as lab:
        storage = lab.directory / "shared.raw"  # the same file by the same path on both hosts
        with open(storage, "wb") as handle:
            handle.truncate(MIB << 20)
        pair = start(lab, spec(str(storage), "file"))
        words = ["--disk", DISK, "--disk", "vdb=shared"]
        assert "arbiter" in pair.protect(*words, check=False).stderr
        pair.protect(*words, "--arbiter", "manual")
        pair.wait_protected()
        goes_on(pair)
        a_person_takes_over(pair, storage)


EXTERNAL, PORT = "/run/host/external.raw", 10809


def serve(host, name: str, *words: str):
    """What stands for a cluster's block storage: qemu-storage-daemon."""
    return host.spawn(["qemu-storage-daemon", *words], name=name)


def replicated_elsewhere(lab):
    """A disk at the same path on both hosts, each write to which ends when both have it, as DRBD's protocol C does it; on A it
    is a file served by FUSE. Returns what serves it on either host."""
    for name in "AB":
        lab.host(name).path(EXTERNAL).write_bytes(b"")
        with open(lab.host(name).path("/run/host/external.medium" if name == "A" else EXTERNAL), "wb") as handle:
            handle.truncate(MIB << 20)
    second = serve(lab.host("B"), "second",
                   "--blockdev", f"node-name=copy,driver=raw,file.driver=file,file.filename={EXTERNAL}",
                   "--nbd-server", f"addr.type=inet,addr.host=10.78.0.2,addr.port={PORT}",
                   "--export", "type=nbd,id=copy,node-name=copy,name=external,writable=on")  # fmt: skip
    eventually(lambda: "10.78.0.2:" + str(PORT) in lab.host("B").run(["ss", "-Hltn"]).stdout, PATIENCE_S, what="the second copy is served")
    first = serve(lab.host("A"), "first",
                  "--blockdev", "node-name=both,driver=quorum,vote-threshold=2,"
                  "children.0.driver=raw,children.0.file.driver=file,children.0.file.filename=/run/host/external.medium,"
                  "children.1.driver=raw,children.1.file.driver=nbd,children.1.file.server.type=inet,"
                  f"children.1.file.server.host=10.78.0.2,children.1.file.server.port={PORT},children.1.file.export=external",
                  "--export", f"type=fuse,id=both,node-name=both,mountpoint={EXTERNAL},writable=on")  # fmt: skip
    eventually(lambda: lab.host("A").path(EXTERNAL).stat().st_size == MIB << 20, PATIENCE_S, what="the disk is there")
    return first, second


def test_storage_that_somebody_else_replicates(machine):
    """The guest's writes reach the other host without us; who says that the primary is dead also takes the storage over."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse: storage that is replicated without us cannot be made")
    with new_lab("external") as lab:
        _, second = replicated_elsewhere(lab)
        # Past the kernel's cache: a write that has ended for the guest has ended on both hosts.
        pair = start(lab, spec(EXTERNAL, "file", ",file.cache.direct=on"))
        words = ["--disk", DISK, "--disk", "vdb=external"]
        assert "arbiter" in pair.protect(*words, check=False).stderr
        goes_on(pair)
        pair.protect(*words, "--arbiter", "manual")
        pair.wait_protected()
        goes_on(pair)
        report = pair.lab.remus_json("A", "verify", pair.name, "--disks", timeout=120)
        assert report["blocks_different"] == 0 and report["blocks_compared"] > 0, report
        a_person_takes_over(pair, lab.host("B").path(EXTERNAL), before=second.stop)


def test_storage_that_the_other_host_lacks(machine):
    """Replicated elsewhere, its administrator says; but not to this host."""
    with new_lab("lacking") as lab:
        with open(lab.host("A").path(EXTERNAL), "wb") as handle:
            handle.truncate(MIB << 20)
        pair = start(lab, spec(EXTERNAL, "file"))
        refused = pair.protect("--disk", DISK, "--disk", "vdb=external", "--arbiter", "manual", check=False)
        assert refused.returncode != 0 and EXTERNAL in refused.stderr, refused.stderr
        goes_on(pair)
