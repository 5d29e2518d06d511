"""The guest's kernel: Debian's own cloud kernel, unpacked into the cache; nothing is installed on this machine."""

import lzma
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.common import paths
from lab.common.errors import LabError
from lab.common.shell import run

META_PACKAGE = "linux-image-cloud-amd64"


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    release: str  # e.g. 6.1.0-56-cloud-amd64
    image: Path
    modules: Path

    def module(self, name: str) -> Path:
        """The file of a module, by the module's name."""
        wanted = re.compile(rf"^{name.replace('_', '[-_]')}\.ko(\.xz)?$")
        for path in self.modules.rglob("*.ko*"):
            if wanted.match(path.name):
                return path
        raise LabError(
            f"kernel {self.release} has no module {name} (delete {self.modules.parents[3]} to fetch it anew)"
        )


def module_bytes(path: Path) -> bytes:
    """A module's content, uncompressed."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def module_depends(content: bytes) -> list[str]:
    """Names of the modules this one needs, from its .modinfo section (package files come without modules.dep)."""
    found = re.search(rb"\0depends=([^\0]*)\0", content)
    return [name for name in (found.group(1).decode() if found else "").split(",") if name]


def _concrete_package() -> str:
    output = run(
        ["apt-cache", "depends", "--no-recommends", "--no-suggests", META_PACKAGE], check=False
    ).stdout
    found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", output)
    if not found:
        raise LabError(f"apt does not know {META_PACKAGE}: run `apt-get update` (a Debian machine is needed)")
    return found.group(1)


def _unpack(package: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        run(["apt-get", "download", package], timeout=300, cwd=scratch)
        archive = next(Path(scratch).glob("*.deb"))
        run(["dpkg-deb", "-x", archive, Path(scratch) / "root"], timeout=120)
        os.chmod(Path(scratch) / "root", 0o755)
        try:
            (Path(scratch) / "root").rename(target)
        except OSError:  # another lab was quicker
            if not target.exists():
                raise


def kernel() -> Kernel:
    """The newest kernel in the cache, or else the one apt offers, fetched and unpacked."""
    override = os.environ.get("REMUS_LAB_KERNEL")  # an unpacked package's root
    store = paths.cache() / "kernel"
    unpacked = (
        [Path(override)]
        if override
        else sorted(p for p in store.glob("linux-image-*") if (p / "boot").is_dir())
    )
    if not unpacked:
        if not shutil.which("apt-get"):
            raise LabError("the guest's kernel comes from Debian's archive by apt-get, which is not here")
        package = _concrete_package()
        _unpack(package, store / package)
        unpacked = [store / package]
    root = unpacked[-1]
    image = next((root / "boot").glob("vmlinuz-*"))
    release = image.name.removeprefix("vmlinuz-")
    return Kernel(release, image, root / "lib" / "modules" / release)
