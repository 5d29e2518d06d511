"""The guest's initramfs: busybox, the programs of guest/, and the kernel modules a guest needs.

Content-addressed: the same sources give the same file, so that both hosts, and a standby started much later, boot from
the very same bytes.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from lab.common import paths
from lab.common.errors import LabError
from lab.common.kernel import Kernel, module_bytes, module_depends
from lab.common.toolchain import compile_c

MODULES = ("virtio_pci", "virtio_net")
DIRECTORIES = ["bin", "modules", "proc", "sys", "dev", "run", "tmp", "etc", "root"]


class Cpio:
    """A cpio archive in 'newc' format, as the kernel's initramfs wants it: owner root, time 0, hence reproducible."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def _entry(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._parts += [header, b"\0" * (-len(header) % 4), content, b"\0" * (-len(content) % 4)]

    def directory(self, name: str) -> None:
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def program(self, name: str, content: bytes) -> None:
        self._entry(name, stat.S_IFREG | 0o755, content)

    def link(self, name: str, target: str) -> None:
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def console(self) -> None:
        self._entry("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1))

    def modules(self, modules: dict[str, bytes]) -> None:
        """Kernel modules, and the order in which the first process inserts them."""
        for name, content in modules.items():
            self.program(f"modules/{name}.ko", content)
        self.program("modules/order", "".join(f"{name}.ko\n" for name in modules).encode())

    def finish(self) -> bytes:
        self._entry("TRAILER!!!", 0, b"")
        return b"".join(self._parts)


def modules_in_order(kernel: Kernel, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """The wanted modules and all they need, each after what it needs."""
    ordered: dict[str, bytes] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        content = module_bytes(kernel.module(name))
        for needed in module_depends(content):
            visit(needed)
        ordered[name] = content

    for name in wanted:
        visit(name)
    return ordered


def compile_static(source: Path) -> Path:
    """A program for guests of the machine's own word size."""
    return compile_c(source, "-static", "-s")


def _busybox() -> bytes:
    path = shutil.which("busybox")
    if not path:
        raise LabError("busybox is not installed: run ./install-dependencies.sh")
    content = Path(path).read_bytes()
    if b"/lib64/ld-linux" in content[:4096]:
        raise LabError(f"{path} is not static: install busybox-static (./install-dependencies.sh)")
    return content


def _compose(
    kernel: Kernel, wanted: tuple[str, ...], busybox: Path | None, compile_program: Callable[[Path], Path]
) -> bytes:
    archive = Cpio()
    for directory in DIRECTORIES:
        archive.directory(directory)
    archive.console()
    archive.program("bin/busybox", busybox.read_bytes() if busybox else _busybox())
    archive.link("bin/sh", "busybox")
    archive.program("init", (paths.HERE / "guest" / "init").read_bytes())
    for script in sorted((paths.HERE / "guest").iterdir()):
        if script.is_file() and script.name not in ("init", "README.md"):
            archive.program(f"bin/{script.name}", script.read_bytes())
    for source in sorted((paths.HERE / "guest" / "programs").glob("*.c")):
        archive.program(f"bin/{source.stem}", compile_program(source).read_bytes())
    archive.modules(modules_in_order(kernel, wanted))
    return archive.finish()


def stored(content: bytes) -> Path:
    """An initramfs in the cache, where it is put under a name made of what it is."""
    target = paths.cache() / "initramfs" / f"{hashlib.sha256(content).hexdigest()[:16]}.cpio"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.rename(target)
    return target


@lru_cache(maxsize=None)
def initramfs(
    kernel: Kernel,
    modules: tuple[str, ...] = MODULES,
    busybox: Path | None = None,
    compile_program: Callable[[Path], Path] = compile_static,
) -> Path:
    """The guest image for this kernel, built if it is not in the cache.

    A guest of another word size than the machine's has a busybox and a compiler of its own.
    """
    return stored(_compose(kernel, modules, busybox, compile_program))
