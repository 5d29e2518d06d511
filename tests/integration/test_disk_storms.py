"""Disks at their worst moments: a block is written while it is copied, and storms of writes and flushes while the host dies.

What the disk must hold is in the guest's memory (lab/common/disk/disk-storm.c): after a failover either stands against the other.
"""

import os
import random

import pytest
from account import DISK, nothing_differs
from eventually import eventually
from pair import AT_POINT, PATIENCE_S, Pair, new_lab, settle

from lab.qemu import GuestSpec

MIB = 64
STORM, IN_GUEST, FILE = "storm", "/dev/vdb", "/run/host/storm.raw"
SPEC = GuestSpec(
    name="db", run="ledger,stream-server", disk=True, cpus=2,
    extra=("-drive", f"if=none,id={STORM},format=raw,file={FILE}",
           "-device", f"virtio-blk-pci,drive={STORM},num-queues=2,addr=0x10"),
)  # fmt: skip
# It is copied first. What it holds cannot be packed: so the link's limit is the copy's.
DISKS = ["--disk", STORM, "--disk", DISK]
BANDWIDTH = "16MiB/s"
CHUNK = 256 << 10  # of a disk is read at once (disk/nbd_reader.hpp)
READ = 3  # which of them is held while the guest writes
BLOCKS = 256  # of the storm meanwhile: the first of each RUN
RUN = (MIB << 20) // 4096 // BLOCKS


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("diskstorms") as lab:
        lab.host("A").path(FILE).write_bytes(os.urandom(MIB << 20))
        pair = Pair(lab)
        pair.start_guest(SPEC)
        yield pair


def storm(pair, threads: int, *, sync: bool, rate: int = 0, blocks: int = 0) -> None:
    pair.guest.stop("disk-storm")
    pair.guest.start(f"disk-storm:{IN_GUEST}:{threads}:{int(sync)}:{rate}:{blocks}")


def goes_on(pair, writes: int = 50) -> None:
    written = lambda: int(pair.guest.shell("cat /run/storm/written") or 0)  # noqa: E731
    before = eventually(written, PATIENCE_S, what="the storm has begun")
    eventually(lambda: written() > before + writes, PATIENCE_S, what="the storm goes on")


def is_over(pair, blocks_min: int) -> None:
    """Every block that was ever written holds what was written to it last."""
    pair.guest.shell("kill -TERM $(cat /run/pid/disk-storm)")
    verdict = eventually(lambda: pair.guest.shell("cat /run/storm/verdict 2>/dev/null", check=False), PATIENCE_S, what="all is compared")
    compared, wrong = map(int, verdict.split())
    print(f"{compared} blocks compared, {wrong} wrong")
    assert wrong == 0 and compared >= blocks_min, pair.guest.shell("head -5 /run/storm/wrong")


def dies(pair) -> None:
    pair.lab.host(pair.primary).power_cut()
    report = pair.wait_active_on_backup()["failover"]
    print(f"epoch {report['epoch']}, activated in {report['activation_ms']} ms")


def compared(pair, disk: str) -> int:
    return next(entry for entry in pair.guard()["disks"] if entry["name"] == disk)["compared_bytes"]


def each_run(pair, script: str) -> None:
    """For what lies between the storm's blocks in the chunks around the one that is held; `script` fails where something is wrong."""
    first, last = READ - 2, READ + 3  # one that is in the log, the held one, and some that are being read behind it
    assert CHUNK == RUN * 4096
    found = pair.guest.shell(f"for k in $(seq {first} {last}); do at=$((k * {RUN} + 1)); from=$(((k - {first}) * {RUN})); "
                             f"{{ {script}; }} || echo $at; done", timeout=60)  # fmt: skip
    assert found == "", f"wrong from block {found.split()} on"


def test_a_block_is_written_while_it_is_copied(pair, database):
    """Once in any case, a read of the copy being held meanwhile; and all through the copy, again and again."""
    storm(pair, 4, sync=False, rate=400, blocks=BLOCKS)
    goes_on(pair)
    pair.guest.shell("head -c 2M /dev/urandom > /run/written")
    pair.arm(pair.primary, f"disk.read=file:{AT_POINT}@{READ}")
    pair.protect(*DISKS, "--bandwidth", BANDWIDTH, "--no-wait")
    eventually(pair.at_point(pair.primary).exists, PATIENCE_S, what="a read of the copy is held", pause=0.002)
    each_run(pair, f"dd if=/run/written of={IN_GUEST} bs=4096 count={RUN - 1} skip=$from seek=$at oflag=direct conv=notrunc 2>/dev/null")
    assert compared(pair, STORM) == (READ - 1) * CHUNK, "the copy has stood at that block all the while"
    pair.at_point(pair.primary).unlink()
    pair.wait_protected()
    goes_on(pair)
    database.moves()
    nothing_differs(pair)
    goes_on(pair)
    pair.wait_for_commits()
    dies(pair)
    goes_on(pair)
    database.moves()
    each_run(pair, f"dd if={IN_GUEST} bs=4096 count={RUN - 1} skip=$at iflag=direct of=/run/found 2>/dev/null; "
                   f"dd if=/run/written bs=4096 count={RUN - 1} skip=$from 2>/dev/null | busybox cmp -s - /run/found")  # fmt: skip
    is_over(pair, blocks_min=BLOCKS)
    pair.turn_round(*DISKS)


def test_host_dies_in_a_storm_of_flushes(pair, database, soak):
    """Eight threads at two queues, each write followed by a flush; nothing that was flushed is lost, and no pause hangs."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    if not pair.is_protected():
        pair.protect(*DISKS)
        pair.wait_protected()
    storm(pair, 8, sync=True)
    for _ in range(10 if soak else 2):
        goes_on(pair)
        pair.wait_for_commits()
        database.moves()
        settle(chance.random())
        dies(pair)
        goes_on(pair)
        database.moves()
        assert pair.guest.shell("cat /run/storm/wrong") == ""
        pair.turn_round(*DISKS)
        nothing_differs(pair)
    is_over(pair, blocks_min=100)
