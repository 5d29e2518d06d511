"""The initramfs of a machine whose root is a disk: the modules of that disk, and the step onto it.

Content-addressed, as all of the lab's pieces are: the same busybox, modules and `disk-init` give the same file.
"""

from pathlib import Path

from lab.common import packages, paths
from lab.common.image import Cpio, modules_in_order, stored
from lab.common.kernel import Kernel

INIT = paths.HERE / "disk-init"


def disk_initramfs(kernel: Kernel, modules: tuple[str, ...]) -> Path:
    """Boots from the disk that the kernel's `root=` names, else /dev/vda, and that these modules (and all they need) make: ext4, its
    first process /sbin/labinit."""
    archive = Cpio()
    for directory in ("bin", "modules", "proc", "sys", "dev", "mnt"):
        archive.directory(directory)
    archive.console()
    (busybox,) = packages.alone(["busybox-static"])
    archive.program("bin/busybox", (packages.unpacked(busybox) / "bin/busybox").read_bytes())
    archive.program("init", INIT.read_bytes())
    archive.modules(modules_in_order(kernel, modules))
    return stored(archive.finish())
