"""The hypervisor: Debian's source of Xen, built once with shadow paging and 32-bit PV guests.

Debian builds Xen without either. Without shadow paging a PV guest's dirty pages cannot be followed (log-dirty fails), so
that neither Xen's own `xl remus` nor this product can protect one; and in an emulated machine 32-bit guests need `hap=0`,
which is shadow paging too. Nothing else is changed, and the toolstack is Debian's own package. `stock()` is Debian's own
hypervisor, for what must be shown on it.
"""

import gzip
import hashlib
import shutil
import tempfile
from pathlib import Path

from lab.common import packages
from lab.common.errors import LabError
from lab.xen import workshop

CONFIG = ["CONFIG_SHADOW_PAGING=y", "CONFIG_PV32=y", "CONFIG_EXPERT=y"]
BUILD_S_MAX = 580


def stock() -> Path:
    """Debian's hypervisor, uncompressed: QEMU boots an ELF file only."""
    (package,) = packages.alone(["xen-hypervisor-4.17-amd64"])
    compressed = packages.unpacked(package) / "boot" / "xen-4.17-amd64.gz"
    target = packages.store() / f"{package.stem}.elf"
    with packages.locked("stock-hypervisor"):
        if not target.exists():
            unfinished = target.with_suffix(".new")
            unfinished.write_bytes(gzip.decompress(compressed.read_bytes()))
            unfinished.rename(target)
    return target


def with_shadow_paging() -> Path:
    """The hypervisor the lab boots; built in about a minute when first needed."""
    files = packages.source("xen")
    digest = hashlib.sha256(repr((sorted(file.name for file in files), CONFIG)).encode()).hexdigest()[:16]
    target = packages.store() / f"xen-shadow-{digest}.elf"
    with packages.locked("hypervisor"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=packages.store(), prefix="build-") as scratch:
                built = _build(files, Path(scratch))
                built.rename(target)
    return target


def _build(files: list[Path], directory: Path) -> Path:
    for file in files:
        shutil.copy(file, directory)
    options = "\\n".join(CONFIG)
    names = "|".join(line.partition("=")[0] for line in CONFIG)
    script = f"""
mkdir xen && tar -xJf xen_*.orig.tar.xz -C xen --strip-components=1 && tar -xJf xen_*.debian.tar.xz -C xen
cd xen
for part in $(grep -v '^#' debian/patches/series); do patch -s -p1 < "debian/patches/$part" || exit 1; done
grep -vE '({names})[ =]' debian/xen-kconfig > xen/.config
printf '{options}\\n' >> xen/.config
cd xen
export XEN_TARGET_ARCH=x86_64
make olddefconfig > /dev/null
grep -q CONFIG_SHADOW_PAGING=y .config && grep -q CONFIG_PV32=y .config
nice make -j$(nproc) > ../../build.log 2>&1 || {{ tail -n 20 ../../build.log; exit 1; }}
gunzip -c xen.gz > /mnt/xen.elf
"""
    workshop.work(directory, script, timeout=BUILD_S_MAX)
    built = directory / "xen.elf"
    if built.read_bytes()[:4] != b"\x7fELF":
        raise LabError("the hypervisor built is no ELF file; see lab/xen/hypervisor.py")
    return built
