"""Debian's i386 libraries and headers, unpacked into the lab's cache; prints where. Nothing is installed on the machine."""

import hashlib
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.common import packages  # noqa: E402  (the path must be set first)

# What ./install-dependencies.sh installs for this machine's own word size, without Xen.
WANTED = [
    "libc6-dev:i386", "libstdc++-12-dev:i386", "libgcc-12-dev:i386", "libboost1.81-dev:i386", "libssl-dev:i386",
    "libnl-route-3-dev:i386", "libzstd-dev:i386", "liblz4-dev:i386", "libxxhash-dev:i386", "libfmt-dev:i386", "libnbd-dev:i386",
    "libspdlog-dev:i386", "nlohmann-json3-dev", "libtomlplusplus-dev:i386", "libcli11-dev", "libgtest-dev:i386",
    "libgmock-dev:i386",
]  # fmt: skip


def sysroot() -> Path:
    files = packages.with_dependencies(WANTED)
    digest = hashlib.sha256(" ".join(sorted(file.name for file in files)).encode()).hexdigest()[:16]
    target = packages.store() / f"i386-{digest}"
    with packages.locked("i386"):
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            for name in packages.MERGED:
                (unfinished / "usr" / name).mkdir(parents=True)
                (unfinished / name).symlink_to(f"usr/{name}")
            for file in files:
                packages.unpack(file, unfinished)
            unfinished.rename(target)
        packages.prune(target, "i386-????????????????", keep=2)
    return target


if __name__ == "__main__":
    print(sysroot())
