"""What a lab host boots: the dom0's disk and its initramfs, out of Debian's packages and the files of dom0/.

Content-addressed: the same packages and files give the same image, made once. A host writes to a layer of its own above it
(machine.py); the image itself never changes.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lab.common import packages
from lab.common.disk_boot import disk_initramfs
from lab.common.image import modules_in_order
from lab.common.shell import run
from lab.common.toolchain import compile_c
from lab.xen.kernels import XenKernel, dom0_kernel

HERE = Path(__file__).resolve().parent / "dom0"
PACKAGES = ["xen-utils-4.17", "xen-utils-common", "xenstore-utils", "qemu-system-xen", "seabios", "iproute2", "bridge-utils"]
PACKAGES += ["bash", "dash", "coreutils", "findutils", "grep", "sed", "mawk", "gzip", "tar", "hostname", "util-linux", "mount", "e2fsprogs"]
PACKAGES += ["base-files", "base-passwd", "libc-bin", "login", "procps", "kmod", "udev", "socat", "busybox-static"]
PACKAGES += ["iputils-ping", "tcpdump", "strace", "nbd-client", "openssl", "ethtool"]
PACKAGES += ["openvswitch-switch"]  # started by whoever wants it
# What the product's programs link with.
PACKAGES += ["libstdc++6", "libssl3", "libnl-route-3-200", "libzstd1", "liblz4-1", "libxxhash0", "libnbd0", "libfmt9", "libspdlog1.10", "libtomlplusplus3"]

DISK_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
MODULES = [*DISK_MODULES, "virtio_net", "9p", "9pnet_virtio", "tun", "loop", "nbd", "bridge", "br_netfilter", "veth", "dummy"]
MODULES += ["xen_netback", "xen_blkback", "xen_gntdev", "xen_gntalloc", "xen_evtchn", "xen_privcmd", "xenfs"]
MODULES += ["sch_plug", "sch_ingress", "sch_netem", "sch_tbf", "sch_prio", "sch_fq", "ifb", "act_mirred"]
MODULES += ["cls_u32", "cls_matchall", "cls_flower", "nf_tables", "nfnetlink_queue", "dm_mod", "overlay", "openvswitch"]
DISK_MIB = 2048
RECIPE = 1  # raise it when the code below makes another image of the same files


@dataclass(frozen=True)
class Dom0:
    """The pieces of a lab host's dom0."""

    kernel: Path
    initramfs: Path
    disk: Path


def _digest(files: list[Path], kernel: XenKernel) -> str:
    names = sorted(file.name for file in files)
    digest = hashlib.sha256(repr((RECIPE, names, kernel.package.name, MODULES, DISK_MIB)).encode())
    for file in sorted(HERE.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _install_modules(kernel: XenKernel, root: Path) -> None:
    """The modules a dom0 needs, of the hundreds of MiB in the package, and the indexes modprobe reads."""
    release = kernel.kernel.release
    target = root / "lib/modules" / release
    for path in {kernel.kernel.module(name) for name in modules_in_order(kernel.kernel, tuple(MODULES))}:
        copy = target / path.relative_to(kernel.kernel.modules)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(kernel.kernel.modules / name, target / name)
    run(["chroot", root, "/sbin/depmod", release], timeout=60)


def _install_own(root: Path) -> None:
    """The lab's own programs, and the few settings of an administrator."""
    shutil.copy(HERE / "init", root / "sbin/labinit")
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(compile_c(HERE / "labd.c", "-static", "-s"), root / "usr/local/bin/labd")
    (root / "usr/local/bin/labsh").symlink_to("labd")
    for directory in ("lab", "etc/remus", "var/lib/remus", "var/lib/xen", "var/log/xen"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    hosts = "127.0.0.1 localhost\n10.78.0.1 hostA\n10.77.0.11 hostA-lan\n10.78.0.2 hostB\n10.77.0.12 hostB-lan\n"
    (root / "etc/hosts").write_text(hosts, encoding="utf-8")


def _make_disk(files: list[Path], kernel: XenKernel, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=packages.store(), prefix="dom0-") as scratch:
        root = Path(scratch) / "root"
        packages.make_root(files, root)
        os.chmod(root, 0o755)
        _install_modules(kernel, root)
        _install_own(root)
        image = Path(scratch) / "disk"
        with open(image, "wb") as handle:
            handle.truncate(DISK_MIB << 20)
        # With a journal: a host comes back after a power cut. Without checksums, which cost an emulated CPU dear.
        options = ["-O", "^metadata_csum,^64bit", "-E", "lazy_itable_init=1,root_owner=0:0", "-J", "size=16"]
        run(["mkfs.ext4", "-q", "-F", *options, "-d", root, image], timeout=120)
        image.rename(target)


@lru_cache(maxsize=None)
def dom0() -> Dom0:
    """The pieces, made if they are not in the cache."""
    files = packages.with_dependencies(PACKAGES)
    kernel = dom0_kernel()
    digest = _digest(files, kernel)
    disk = packages.store() / f"dom0-{digest}.img"
    with packages.locked("dom0"):
        if not disk.exists():
            _make_disk(files, kernel, disk)
        packages.prune(disk, "dom0-*.img")
    return Dom0(kernel.elf, disk_initramfs(kernel.kernel, DISK_MODULES), disk)
