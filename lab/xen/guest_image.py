"""What guests boot from: one small disk image with a kernel and an initramfs for each word size, and boot disks for HVM.

The image is the second disk of each host, read-only, on /lab. An HVM guest boots from a disk of its own made here: loaded
by `kernel=` it would come byte by byte through port I/O, a minute in an emulated machine. Only one whose root is an emulated
IDE disk is loaded so, for its BIOS would read a kernel from there more slowly still.
"""

import hashlib
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from lab.common import packages, paths
from lab.common.disk_boot import disk_initramfs
from lab.common.image import initramfs
from lab.common.shell import run
from lab.common.toolchain import WARNINGS
from lab.xen import pv32_guest, workshop
from lab.xen.kernels import XenKernel, guest_kernel, guest_kernel_32

DISK_MODULES = ("xen_netfront", "xen_blkfront", "virtio_pci", "virtio_net", "ata_piix", "sd_mod")
MODULES = ("xen_netfront", "xen_blkfront", "virtio_pci", "virtio_net")
MODULES_32 = (*MODULES, "e1000")
IMAGE_SLACK_MIB = 8


def compile_32(source: Path) -> Path:
    """A static 32-bit program, compiled in the workshop."""
    digest = hashlib.sha256(workshop.root().name.encode())
    for part in [source, *sorted(source.parent.glob("*.h"))]:
        digest.update(part.read_bytes())
    target = paths.cache() / "bin" / f"{source.stem}-32-{digest.hexdigest()[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = " ".join(["-m32", "-O2", "-g0", "-D_GNU_SOURCE", *WARNINGS, "-static", "-s"])
        with tempfile.TemporaryDirectory() as scratch:
            for part in [source, *source.parent.glob("*.h")]:
                shutil.copy(part, scratch)
            workshop.work(Path(scratch), f"gcc {flags} -o program {source.name}")
            shutil.copy(Path(scratch) / "program", target)
    return target


def _boot_files(bits: int) -> tuple[XenKernel, Path]:
    if bits == 64:
        kernel = guest_kernel()
        return kernel, initramfs(kernel.kernel, MODULES)
    kernel = guest_kernel_32()
    (busybox,) = packages.alone(["busybox-static:i386"])
    return kernel, initramfs(kernel.kernel, MODULES_32, packages.unpacked(busybox) / "bin/busybox", compile_32)


@lru_cache(maxsize=None)
def boot_files(bits: int) -> tuple[XenKernel, Path]:
    """Kernel and initramfs of guests of a word size (32 or 64)."""
    return _boot_files(bits)


def disk_files() -> tuple[XenKernel, Path]:
    """Kernel and initramfs of guests whose root is a disk."""
    kernel = guest_kernel()
    return kernel, disk_initramfs(kernel.kernel, DISK_MODULES)


@lru_cache(maxsize=None)
def image() -> Path:
    """The disk image for /lab: kernel64, vmlinuz64, initrd64, diskrd64, kernel32, initrd32, pv32."""
    files = {"pv32": pv32_guest.kernel(), "vmlinuz64": guest_kernel().kernel.image, "diskrd64": disk_files()[1]}
    for bits in (64, 32):
        kernel, initrd = boot_files(bits)
        files |= {f"kernel{bits}": kernel.elf, f"initrd{bits}": initrd}
    digest = hashlib.sha256(repr([(name, path.name) for name, path in files.items()]).encode()).hexdigest()[:16]
    target = packages.store() / f"guests-{digest}.img"
    with packages.locked("guests"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=packages.store(), prefix="guests-") as scratch:
                root = Path(scratch) / "root"
                root.mkdir(mode=0o755)
                for name, path in files.items():
                    shutil.copy(path, root / name)
                size_mib = sum(path.stat().st_size for path in files.values()) // (1 << 20) + IMAGE_SLACK_MIB
                made = Path(scratch) / "image"
                with open(made, "wb") as handle:
                    handle.truncate(size_mib << 20)
                options = ["-O", "^has_journal,^metadata_csum", "-m", "0", "-E", "root_owner=0:0"]
                run(["mkfs.ext4", "-q", "-F", *options, "-d", root, made], timeout=60)
                made.rename(target)
        packages.prune(target, "guests-*.img")
    return target


def boot_disk(bits: int, arguments: str, target: Path, *, to_disk: bool = False) -> None:
    """A disk that a BIOS boots: FAT with syslinux, kernel, initramfs and the kernel's arguments. `to_disk`: the root is another disk."""
    kernel, initrd = disk_files() if to_disk else boot_files(bits)
    template = _boot_disk_template(kernel, initrd)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=packages.store(), prefix="bootdisk-") as scratch:
        shutil.copy(template, Path(scratch) / "disk")
        lines = ["DEFAULT lab", "PROMPT 0", "TIMEOUT 1", "LABEL lab", " LINUX vmlinuz", " INITRD initrd"]
        text = "\n".join([*lines, f" APPEND {arguments}"]) + "\n"
        (Path(scratch) / "syslinux.cfg").write_text(text, encoding="ascii")
        workshop.work(Path(scratch), "mcopy -o -i disk syslinux.cfg ::")
        shutil.move(Path(scratch) / "disk", target)


def _boot_disk_template(kernel: XenKernel, initrd: Path) -> Path:
    digest = hashlib.sha256(repr((kernel.package.name, initrd.name)).encode()).hexdigest()[:16]
    template = packages.store() / f"bootdisk-{digest}.img"
    with packages.locked("bootdisk"):
        if not template.exists():
            with tempfile.TemporaryDirectory(dir=packages.store(), prefix="bootdisk-") as scratch:
                shutil.copy(kernel.kernel.image, Path(scratch) / "vmlinuz")
                shutil.copy(initrd, Path(scratch) / "initrd")
                size_mib = sum(path.stat().st_size for path in Path(scratch).iterdir()) // (1 << 20) + 4
                script = f"gzip -1 initrd; mv initrd.gz initrd; truncate -s {size_mib}M disk; mkfs.vfat -n LAB disk > /dev/null;"
                script += " syslinux --install disk; mcopy -i disk vmlinuz initrd ::"
                workshop.work(Path(scratch), script)
                (Path(scratch) / "disk").rename(template)
        packages.prune(template, "bootdisk-*.img", keep=6)
    return template
