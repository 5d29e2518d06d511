"""Disks of other kinds: volumes on either side, and storage that both hosts see."""

import subprocess

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


def spec(file: str, driver: str) -> GuestSpec:
    return GuestSpec(
        name="db", run="stream-server", disk=True,
        extra=("-blockdev", f"raw,node-name=vdb,file.driver={driver},file.filename={file}",
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
    before = rounds(pair)
    eventually(lambda: rounds(pair) > before + 3, PATIENCE_S, what="the guest writes on")
    assert pair.guest.shell("cat /run/wrong 2>/dev/null", check=False).strip() == ""


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
        refused = pair.lab.remus("B", "failover", pair.name, "--yes", check=False)
        assert refused.returncode != 0 and pair.guard("B")["state"] != "active", "the primary lives"
        pair.lab.host("A").power_cut()
        eventually(lambda: pair.guard("B")["state"] in ("suspecting", "claiming", "stale"), PATIENCE_S, what="it waits for a person")
        before = storage.read_bytes()
        settle(2)
        assert pair.guard("B")["state"] not in ("active", "activating"), "nobody has said that the primary is dead"
        assert storage.read_bytes() == before, "nobody writes meanwhile"
        eventually(lambda: pair.lab.remus("B", "failover", pair.name, "--yes", check=False).returncode == 0, PATIENCE_S,
                   what="the person's word is taken")  # fmt: skip
        pair.wait_active_on_backup()
        goes_on(pair)
        assert storage.read_bytes() != before, "the guest writes to the storage it had"
