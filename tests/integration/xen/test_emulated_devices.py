"""A guest's requests to its emulated devices are served, whenever its checkpoints fall.

QEMU serves nothing while it is stopped, and Xen then takes a request for done: a guest let go too early would read ones from its
hardware, and write to nothing.
"""

import pytest
from eventually import eventually

from lab.xen import GuestSpec

pytestmark = pytest.mark.xen

EPOCHS = 60
CAPTURE_S_MAX = 240


def test_no_request_is_lost_over_checkpoints(lab):
    host = lab.host("A")
    guest = lab.start_guest(GuestSpec(kind="hvm-nopv", memory_mib=128, run="pci-reader"), on="A")
    try:
        eventually(lambda: guest.stat("pci-reads") > 0, 60, what="it reads")
        before = guest.stat("pci-reads")
        words = ["--vouch", "hda", "--epochs", EPOCHS, "--interval", 5]
        done = host.run([host.program("remus-xen-capture"), guest.spec.name, *words], timeout=CAPTURE_S_MAX)
        print(done.stdout.splitlines()[-1])
        eventually(lambda: guest.stat("pci-reads") > before, 60, what="it reads on")
        print(f"{guest.stat('pci-reads') - before} reads over {EPOCHS} checkpoints")
        assert guest.shell("cat /run/pci-wrong") == ""
    finally:
        host.xl("destroy", guest.spec.name, check=False)
        eventually(lambda: not host.domains(), 60, what="no domain on A")
