"""A real disk for a guest: an ext4 file system of Debian's packages, with SQLite and the lab's ledger server on it.

Content-addressed: the same packages and files give the same image, made once. Each guest gets a copy of its own, with holes.
"""

import hashlib
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from lab.common import packages, paths
from lab.common.image import compile_static
from lab.common.shell import run
from lab.common.toolchain import compile_c

HERE = Path(__file__).resolve().parent / "disk"
GUEST = paths.HERE / "guest"
PACKAGES = ["base-files", "base-passwd", "bash", "dash", "coreutils", "sed", "grep", "libc-bin", "util-linux", "mount"]
PACKAGES += ["e2fsprogs", "sqlite3", "busybox-static"]
DISK_MIB = 384
RECIPE = 2  # raise it when the code below makes another image of the same files


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256(repr((RECIPE, sorted(file.name for file in files), DISK_MIB)).encode())
    for place in (HERE, GUEST, GUEST / "programs"):
        for file in sorted(path for path in place.iterdir() if path.is_file()):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _make_image(files: list[Path], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="disk-") as scratch:
        root = Path(scratch) / "root"
        packages.make_root(files, root)
        os.chmod(root, 0o755)
        shutil.copy(HERE / "labinit", root / "sbin/labinit")
        (root / "lab").mkdir()
        for script in ("start", "stop", "shell"):
            shutil.copy(GUEST / script, root / "lab" / script)
        for source in (*sorted((GUEST / "programs").glob("*.c")), HERE / "disk-bench.c", HERE / "disk-storm.c"):
            shutil.copy(compile_static(source), root / "lab" / source.stem)
        # Against Debian's own library, which is on the disk.
        shutil.copy(compile_c(HERE / "ledger.c", "-s", "-Wl,--no-as-needed", "-lsqlite3"), root / "lab/ledger")
        for directory in ("proc", "sys", "dev", "run", "tmp", "root", "var/lib"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        image = Path(scratch) / "disk"
        with open(image, "wb") as handle:
            handle.truncate(DISK_MIB << 20)
        run(["mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-J", "size=16", "-d", root, image], timeout=120)
        image.rename(target)


@lru_cache(maxsize=None)
def disk_image() -> Path:
    """The image, made if it is not in the cache. Never written: copy it."""
    files = packages.with_dependencies(PACKAGES)
    store = paths.cache() / "disk"
    store.mkdir(parents=True, exist_ok=True)
    image = store / f"{_digest(files)}.img"
    with packages.locked("guest-disk"):
        if not image.exists():
            _make_image(files, image)
    return image


def copy_of_disk(target: Path) -> None:
    """A disk for one guest, with holes where nothing is."""
    target.unlink(missing_ok=True)
    run(["cp", "--sparse=always", disk_image(), target], timeout=120)
