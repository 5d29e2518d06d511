"""Disks fail over with their guest: every transaction the database acknowledged is there, wherever the guest goes on."""

import json
import random
import subprocess

import pytest
from account import DISK, SPEC, Account
from eventually import eventually
from pair import PATIENCE_S, Pair, new_lab, settle

from lab.qemu import GuestSpec


@pytest.fixture
def pair(machine):
    with new_lab("disks") as lab:
        pair = Pair(lab)
        pair.start_guest(SPEC)
        yield pair


def test_every_acknowledged_transaction_survives(pair, soak):
    """The host dies in the midst of writes, again and again, from host to host; in the end the file system is clean."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    pair.protect("--disk", DISK)
    pair.wait_protected()
    account = Account(pair)
    for round_number in range(50 if soak else 3):
        pair.wait_for_commits()
        account.moves()
        settle(chance.random())
        pair.lab.host(pair.primary).power_cut()
        report = pair.wait_active_on_backup()["failover"]
        account.moves()
        print(f"kill {round_number}: epoch {report['epoch']}, detected {report['detected_ms']} ms, "
              f"activated {report['activation_ms']} ms, {account.acknowledged} transactions")
        pair.turn_round("--disk", DISK)
    verdict = account.close()
    print(json.dumps(verdict))
    pair.unprotect()
    guest = pair.guest
    guest.shell("kill $(cat /run/pid/ledger); sync; mount -o remount,ro /")
    pair.lab.host(pair.primary).kill_all()
    clean = subprocess.run(["/sbin/e2fsck", "-fn", pair.lab.host(pair.primary).path(SPEC.disk_file)],
                           text=True, capture_output=True, check=False, timeout=60)
    assert clean.returncode == 0, clean.stdout + clean.stderr


def test_a_copy_keeps_to_its_rate_until_that_is_lifted(pair):
    """The disk would be there within a second, and at this rate only after minutes, for which nobody here has the patience."""
    refused = pair.protect("--disk", DISK, "--copy-rate", "10KiB/s", check=False)
    assert refused.returncode == 2 and "copy_rate" in refused.stderr, refused
    pair.protect("--disk", DISK, "--copy-rate", "1MiB/s", "--no-wait")
    disk = lambda: next(iter(pair.guard().get("disks") or [{}]))  # noqa: E731
    eventually(lambda: disk().get("compared_bytes", 0) > 2 << 20, PATIENCE_S, what="the copy is under way")
    assert disk()["compared_bytes"] < disk()["bytes"] / 4 and not pair.is_protected(), disk()
    pair.lab.remus(pair.primary, "set", pair.name, "--copy-rate", "unlimited")
    pair.wait_protected()
    report = pair.lab.remus_json(pair.primary, "verify", pair.name, "--disks", timeout=120)
    assert report["blocks_different"] == 0 and report["blocks_compared"] > 0, report


LOOP = """
n=0
trap 'exit 0' TERM
while :; do
  n=$((n + 1))
  for disk in vdb vdc vdd; do
    printf '%016d' $n | dd of=/dev/$disk bs=4096 conv=sync oflag=direct seek=$((n % 1000)) 2>/dev/null
  done
  for disk in vdb vdc vdd; do
    got=$(dd if=/dev/$disk bs=4096 count=1 iflag=direct skip=$((n % 1000)) 2>/dev/null | head -c 16)
    [ "$got" = "$(printf '%016d' $n)" ] || echo "$disk lost write $n: it has $got" >> /run/wrong
  done
  echo $n > /run/round
done
"""


def test_four_disks_are_one_commit(machine):
    """Of several kinds: what the guest's memory knows to be written is on each of them, before a failover and after it."""
    spec = GuestSpec(
        name="db", run="ledger,stream-server", disk=True, cpus=2,
        extra=(
            "-blockdev", "qcow2,node-name=vdb,file.driver=file,file.filename=/run/host/b.qcow2",
            "-device", "virtio-blk-pci,id=vdb-device,drive=vdb,num-queues=2,addr=0x10",
            "-blockdev", "raw,node-name=vdc,cache.direct=on,file.driver=file,file.filename=/run/host/c.raw",
            "-device", "virtio-blk-pci,drive=vdc,logical_block_size=4096,physical_block_size=4096,addr=0x11",
            "-drive", "if=none,id=third,format=raw,file=/run/host/d.raw", "-device", "virtio-blk-pci,drive=third,addr=0x12",
        ),
    )  # fmt: skip
    disks = [word for name in (DISK, "vdb-device", "vdc", "third") for word in ("--disk", name)]
    with new_lab("fourdisks") as lab:
        host = lab.host("A")
        host.run(["qemu-img", "create", "-q", "-f", "qcow2", "/run/host/b.qcow2", "16M"])
        host.run(["truncate", "-s", "16M", "/run/host/c.raw", "/run/host/d.raw"])
        pair = Pair(lab)
        pair.start_guest(spec)
        pair.guest.shell(f"cat > /run/loop <<'END'\n{LOOP}\nEND\nsetsid bash /run/loop > /dev/null 2>&1 & echo $! > /run/pid/loop")
        pair.protect(*disks)
        pair.wait_protected()
        account = Account(pair)
        for round_number in range(2):
            account.moves()
            before = int(pair.guest.shell("cat /run/round"))
            pair.lab.host(pair.primary).power_cut()
            pair.wait_active_on_backup()
            account.moves()
            eventually(lambda before=before: int(pair.guest.shell("cat /run/round")) > before + 3, PATIENCE_S, what="the loop goes on")
            assert pair.guest.shell("cat /run/wrong 2>/dev/null", check=False).strip() == ""
            if round_number == 0:
                pair.turn_round(*disks)
                report = pair.lab.remus_json(pair.primary, "verify", pair.name, "--disks", timeout=120)
                assert report["blocks_different"] == 0 and report["blocks_compared"] > 0, report
        account.close()
