"""All that hosts and guests boot, made ahead: `python3 -m lab.xen.pieces` fills the cache and says what took how long."""

import time

from lab.common.packages import store
from lab.xen import dom0_image, guest_image, hypervisor, patched_qemu, workshop

__all__ = ["prepare", "store"]

STEPS = {
    "tools to build with": workshop.root,
    "the hypervisor, with shadow paging": hypervisor.with_shadow_paging,
    "the dom0": dom0_image.dom0,
    "guests' kernels and initramfs": guest_image.image,
    "the emulator": patched_qemu.words,
}


def prepare(say=lambda _: None) -> None:
    """Makes every piece that is not in the cache. `say` hears a line for each."""
    for what, make in STEPS.items():
        began = time.monotonic()
        make()
        say(f"{what}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    prepare(print)
