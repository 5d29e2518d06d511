"""Kernels as Xen's tools like them best: uncompressed.

Unpacking a bzImage in an emulated machine takes seconds each time, and QEMU hands the dom0 kernel to Xen as it is. What a
bzImage carries is found as in Linux's Documentation/x86/boot.rst: setup_sects at 0x1f1, payload_offset and payload_length
at 0x248.
"""

import hashlib
import lzma
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from lab.common import packages
from lab.common.errors import LabError
from lab.common.kernel import Kernel
from lab.xen import workshop

HEADER_PAYLOAD = 0x248
SECTOR_BYTES = 512


@dataclass(frozen=True)
class XenKernel:
    """A kernel package unpacked, and its kernel uncompressed."""

    kernel: Kernel
    elf: Path
    package: Path  # the package's root


def _payload(image: bytes) -> bytes:
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, HEADER_PAYLOAD)
    start = (setup_sectors + 1) * SECTOR_BYTES + offset
    return image[start : start + length]


def vmlinux(image: bytes) -> bytes:
    """The ELF file inside a bzImage."""
    packed = _payload(image)
    if packed.startswith(b"\xfd7zXZ\0"):
        content = lzma.LZMADecompressor().decompress(packed)
    elif packed.startswith(b"\x1f\x8b"):
        content = zlib.decompressobj(31).decompress(packed)
    elif packed.startswith(b"\x02\x21\x4c\x18"):  # lz4, legacy frame; the last 4 bytes are the kernel's own
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / "packed").write_bytes(packed[:-4])
            workshop.work(Path(scratch), "lz4 -dc packed > elf")
            content = (Path(scratch) / "elf").read_bytes()
    else:
        raise LabError(f"a kernel is packed in a way the lab does not know: it begins with {packed[:6].hex()}")
    if content[:4] != b"\x7fELF":
        raise LabError("a kernel unpacked to something that is no ELF file")
    return content


def _kernel(meta: str, pattern: str) -> XenKernel:
    (package,) = packages.alone([f"{meta}>{pattern}"])
    root = packages.unpacked(package)
    image = next((root / "boot").glob("vmlinuz-*"))
    release = image.name.removeprefix("vmlinuz-")
    elf = packages.store() / "kernels" / f"{release}-{hashlib.sha256(package.name.encode()).hexdigest()[:8]}.elf"
    with packages.locked("kernels"):
        if not elf.exists():
            elf.parent.mkdir(exist_ok=True)
            unfinished = elf.with_suffix(".new")
            unfinished.write_bytes(vmlinux(image.read_bytes()))
            unfinished.rename(elf)
    return XenKernel(Kernel(release, image, root / "lib" / "modules" / release), elf, root)


def dom0_kernel() -> XenKernel:
    """Debian's ordinary kernel: it has the back ends and queueing disciplines a dom0 needs."""
    return _kernel("linux-image-amd64", r"linux-image-[0-9.-]+-amd64")


def guest_kernel() -> XenKernel:
    """Debian's cloud kernel, the same package lab/qemu boots."""
    return _kernel("linux-image-cloud-amd64", r"linux-image-[0-9.-]+-cloud-amd64")


def guest_kernel_32() -> XenKernel:
    """Debian's 32-bit kernel (PAE)."""
    return _kernel("linux-image-686-pae:i386", r"linux-image-[0-9.-]+-686-pae")
