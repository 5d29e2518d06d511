"""Media that fail, on either side: the guest sees its own disk's errors and no others, and protection is true about itself.

The primary's medium fails by QEMU's own blkdebug, beneath the guest's disk. The backup's is a file served by qemu-storage-daemon
(FUSE) with blkdebug beneath: to the product a file like any other, but for one sector that cannot be written.
"""

import os

import pytest
from account import DISK
from eventually import eventually
from pair import PATIENCE_S, Pair, new_lab

from lab.qemu import GuestSpec

MIB = 16
BAD_SECTOR = 8192  # at 4 MiB
BAD_BLOCK = BAD_SECTOR // 8


def failing(file: str, iotype: str) -> str:
    """A -blockdev's words for a file one sector of which cannot be read, or written."""
    return (f"driver=blkdebug,image.driver=file,image.filename={file},inject-error.0.event=none,inject-error.0.iotype={iotype},"
            f"inject-error.0.errno=5,inject-error.0.sector={BAD_SECTOR},inject-error.0.once=off")  # fmt: skip


def blockdev(name: str, slot: int, below: str) -> tuple[str, ...]:
    """A disk of the guest over such a file, behind its first one; errors are the guest's to hear of."""
    under = ",".join(f"file.{word}" for word in below.split(","))
    return ("-blockdev", f"driver=raw,node-name={name},{under}", "-device", f"virtio-blk-pci,drive={name},addr={slot},werror=report,rerror=report")


SPEC = GuestSpec(
    name="db", run="ledger,stream-server", disk=True,
    extra=(*blockdev("unwritable", 16, failing("/run/host/unwritable.raw", "write")),
           *blockdev("unreadable", 17, failing("/run/host/unreadable.raw", "read")),
           *blockdev("sound", 18, "driver=file,filename=/run/host/sound.raw")),
)  # fmt: skip
UNWRITABLE, UNREADABLE, SOUND = "vdb", "vdc", "vdd"


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("diskerrors") as lab:
        for host in (lab.host("A"), lab.host("B")):
            for name in ("unwritable", "unreadable", "sound"):
                host.run(["truncate", "-s", f"{MIB}M", f"/run/host/{name}.raw"])
        # A hole would not be read at all.
        host = lab.host("A")
        host.run(["dd", "if=/dev/urandom", "of=/run/host/unreadable.raw", "bs=1M", f"count={MIB}", "status=none"])
        pair = Pair(lab)
        pair.start_guest(SPEC)
        yield pair


@pytest.fixture(autouse=True)
def unprotected_after(pair):
    yield
    pair.lab.remus(pair.primary, "unprotect", pair.name, check=False)


def write_block(pair, disk: str, block: int, letter: str) -> bool:
    """Whether the guest could write it, past its page cache."""
    done = pair.guest.shell(f"head -c 4096 /dev/zero | tr '\\0' {letter} | dd of=/dev/{disk} bs=4096 count=1 seek={block} "
                            "oflag=direct conv=notrunc 2>/dev/null && echo written", check=False)  # fmt: skip
    return "written" in done


def read_block(pair, disk: str, block: int) -> str:
    return pair.guest.shell(f"dd if=/dev/{disk} bs=4096 count=1 skip={block} iflag=direct 2>/dev/null | head -c 1; echo").strip()


def errors(pair, host: str) -> str:
    return pair.lab.remus(host, "events", pair.name, "--json", check=False).stdout


def test_the_primary_cannot_write(pair, database):
    """The guest hears of it, as without us; nothing of that write is on the backup, and protection does not mind."""
    pair.protect("--disk", DISK, "--disk", "unwritable,target=/run/host/unwritable.raw,overwrite",
                 "--disk", "unreadable=scratch", "--disk", "sound=scratch")  # fmt: skip
    pair.wait_protected()
    session = pair.guard()["session"]
    assert write_block(pair, UNWRITABLE, BAD_BLOCK - 1, "a")
    assert not write_block(pair, UNWRITABLE, BAD_BLOCK, "b"), "the guest's own disk failed, and it was told otherwise"
    assert write_block(pair, UNWRITABLE, BAD_BLOCK + 1, "c")
    database.moves()
    pair.wait_for_commits()
    assert (pair.guard()["state"], pair.guard()["session"]) == ("protected", session)
    report = pair.lab.remus_json(pair.primary, "verify", pair.name, "--disks", timeout=120)
    assert report["blocks_different"] == 0 and report["blocks_compared"] > 0, report
    replica = pair.lab.host(pair.backup).path("/run/host/unwritable.raw")
    eventually(lambda: replica.read_bytes()[(BAD_BLOCK - 1) * 4096 :][: 3 * 4096 : 4096] == b"a\0c", PATIENCE_S,
               what="what the guest's disk holds, and not more, on the replica")  # fmt: skip


def test_the_primary_cannot_read_what_is_to_be_copied(pair, database):
    """No replica can be made of it: that is told, the guest runs on, and nothing is left in its write path."""
    pair.protect("--disk", DISK, "--disk", "unreadable,target=/run/host/unreadable.raw,overwrite",
                 "--disk", "unwritable=scratch", "--disk", "sound=scratch", "--no-wait")  # fmt: skip
    eventually(lambda: "disk 'unreadable'" in errors(pair, pair.primary), PATIENCE_S, what="the failing disk is named")
    assert not pair.is_protected()
    database.moves()
    assert write_block(pair, UNREADABLE, 7, "d") and read_block(pair, UNREADABLE, 7) == "d"
    pair.unprotect()
    with pair.guest.qmp(pair.lab.host(pair.primary)) as qmp:
        assert qmp.command("query-jobs") == []
    database.moves()


def serve(pair, words: str):
    """A file of the backup's host that is served by qemu-storage-daemon."""
    host = pair.lab.host(pair.backup)
    host.run(["touch", "/run/host/served"])
    daemon = host.spawn(["qemu-storage-daemon", "--blockdev", f"node-name=medium,{words}",
                         "--export", "type=fuse,id=served,node-name=medium,mountpoint=/run/host/served,writable=on"], name="medium")
    eventually(lambda: host.path("/run/host/served").stat().st_size == MIB << 20, PATIENCE_S, what="the medium is there")
    return daemon


def test_the_backup_cannot_write_its_replica(pair, database):
    """The guest does not notice, the backup says what fails, and on another medium the guest is protected again."""
    host = pair.lab.host(pair.backup)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse: the failing medium cannot be made")
    host.run(["truncate", "-s", f"{MIB}M", "/run/host/medium.raw"])
    medium = serve(pair, failing("/run/host/medium.raw", "write"))
    words = ["--disk", DISK, "--disk", "sound,target=/run/host/served,overwrite",
             "--disk", "unwritable=scratch", "--disk", "unreadable=scratch"]  # fmt: skip
    pair.protect(*words)
    pair.wait_protected()
    assert write_block(pair, SOUND, BAD_BLOCK - 1, "e")
    pair.wait_for_commits()
    assert pair.is_protected()
    assert write_block(pair, SOUND, BAD_BLOCK, "f"), "the guest's disk is sound"
    eventually(lambda: "/run/host/served" in errors(pair, pair.backup), PATIENCE_S, what="the backup names the medium that fails")
    database.moves()
    assert write_block(pair, SOUND, BAD_BLOCK + 1, "g")
    medium.stop()
    medium = serve(pair, "driver=file,filename=/run/host/medium.raw")
    pair.unprotect()
    pair.protect(*words)
    pair.wait_protected()
    pair.wait_for_commits()
    report = pair.lab.remus_json(pair.primary, "verify", pair.name, "--disks", timeout=120)
    assert report["blocks_different"] == 0 and report["blocks_compared"] > 0, report
    database.moves()
    pair.unprotect()
    medium.stop()
