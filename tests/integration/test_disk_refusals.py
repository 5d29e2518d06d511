"""Disks that cannot be replicated, or not there: a clear sentence, and the guest unharmed."""


import pytest
from account import DISK, SPEC
from eventually import eventually
from pair import Pair, new_lab
from unharmed import protect_words, refused


INVALID, NOT_FOUND, EXISTS, REFUSED, INCOMPATIBLE = 2, 3, 4, 5, 7
IMAGE = SPEC.disk_file  # on either host


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("disks") as lab:
        pair = Pair(lab)
        pair.start_guest(SPEC)
        yield pair


@pytest.fixture(autouse=True)
def no_replica(pair, unharmed):
    """Nor is there, at the next test, what this one has put where the replica goes."""
    yield
    pair.lab.host("B").path(IMAGE).unlink(missing_ok=True)


def words(*disk: str) -> list[str]:
    options = [word for one in disk for word in ("--disk", one)]
    return [*protect_words(SPEC.qmp, SPEC.name), *options]


def test_a_disk_of_which_nothing_is_said(pair):
    refused(pair, words(), "disk 'virtio0'", "--disk virtio0", status=REFUSED)


def test_no_such_disk(pair):
    refused(pair, words("vdz"), "no disk 'vdz'", "it has: virtio0", status=REFUSED)


@pytest.mark.parametrize("option, word", [
    ("virtio0=copied", "replicate, shared, external or scratch"),
    ("virtio0,target=here", "absolute"),
    ("virtio0=shared", "arbiter"),
    ("virtio0=external", "arbiter"),
])  # fmt: skip
def test_an_option_without_sense(pair, option, word):
    refused(pair, words(option), word, status=INVALID)


def test_something_else_is_there(pair):
    pair.lab.host("B").write(IMAGE, "somebody's photographs")
    refused(pair, words(DISK), IMAGE, "is there already", "overwrite", status=EXISTS)
    assert pair.lab.host("B").read_bytes(IMAGE) == b"somebody's photographs"


def test_a_target_of_another_size(pair):
    pair.lab.host("B").write(IMAGE, "x" * 4096)
    refused(pair, words(f"{DISK},overwrite"), "4096 bytes", "402653184", status=INCOMPATIBLE)
    assert pair.lab.host("B").read_bytes(IMAGE) == b"x" * 4096


def test_no_directory_for_the_target(pair):
    refused(pair, words(f"{DISK},target=/run/host/nowhere/db.raw"), "/run/host/nowhere", status=NOT_FOUND)
    assert not pair.lab.host("B").path("/run/host/nowhere").exists()


def test_a_target_that_is_no_disk(pair):
    refused(pair, words(f"{DISK},target=/dev/null,overwrite"), "/dev/null", "neither a file nor a block device", status=REFUSED)


def test_a_target_in_use(pair):
    host = pair.lab.host("B")
    host.run(["truncate", "-s", str(402653184), IMAGE])
    script = f"import fcntl, time; f = open('{IMAGE}', 'r+b'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    holder = host.spawn(["/usr/bin/python3", "-c", script])
    try:
        eventually(lambda: "held" in holder.log.read_text(), 20, what="the image is locked")
        refused(pair, words(f"{DISK},overwrite"), IMAGE, "is in use", status=REFUSED)
    finally:
        holder.stop()


def test_a_block_job_under_way(pair):
    with pair.guest.qmp(pair.lab.host("A")) as qmp:
        node = qmp.command("query-block")[0]["inserted"]["node-name"]
        qmp.command("blockdev-add", **{"driver": "null-co", "node-name": "null0", "size": 402653184, "read-zeroes": True})
        qmp.command("blockdev-mirror", **{"job-id": "theirs", "device": node, "target": "null0", "sync": "full", "speed": 4096})
        try:
            refused(pair, words(DISK), "job 'theirs'", status=REFUSED)
        finally:
            qmp.command("block-job-cancel", device="theirs", force=True)
            eventually(lambda: not qmp.command("query-jobs"), 20, what="their job is gone")
            qmp.command("blockdev-del", **{"node-name": "null0"})
