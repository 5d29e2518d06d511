"""A stand whose guest has a further disk, to be loaded and protected: a raw file, as QEMU takes one by default."""

import contextlib
import os

from bench.suite.stand import Stand
from lab.qemu import GuestSpec, Lab
from lab.common.disk_image import copy_of_disk

DEVICE = "bench"  # its -drive's id
IN_GUEST = "/dev/vdb"
FILE = f"/run/host/{DEVICE}.raw"  # on either host
DISK_MIB = 128
ROOT = "virtio0=scratch"  # the guest's own disk: nobody writes there meanwhile
# Two CPUs, of which one is used: for a single one QEMU before 8 leaves out memory barriers when it emulates (tcg_gen_mb), and sooner
# or later a disk that is busy misses an interrupt for good.
SPEC = GuestSpec(
    run="stream-server,echo-server", disk=True, cpus=2,
    extra=("-drive", f"if=none,id={DEVICE},format=raw,file={FILE}", "-device", f"virtio-blk-pci,drive={DEVICE},addr=0x10"),
)  # fmt: skip


@contextlib.contextmanager
def disk_stand(name: str):
    """The disk is full of data from the first: a hole filled is another thing than a block rewritten."""
    with Lab(f"bench-{name}-{os.getpid()}", disk_size="2g") as lab:
        lab.install_remus()
        for host in (lab.host("A"), lab.host("B")):
            host.run(["truncate", "-s", f"{DISK_MIB}M", FILE])
        copy_of_disk(lab.host("B").path(SPEC.disk_file))
        stand = Stand(lab, lab.start_guest(SPEC, on="A"))
        stand.guest.shell(f"dd if=/dev/urandom of={IN_GUEST} bs=1M count={DISK_MIB} oflag=direct 2>/dev/null", timeout=60)
        yield stand
