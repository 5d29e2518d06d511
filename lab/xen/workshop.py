"""The workshop: a root of Debian packages with the tools that make the lab's pieces, run by chroot.

So a piece comes out the same on every machine, and the machine itself needs none of them: a compiler for 32-bit programs,
make, flex and bison for the hypervisor, syslinux and mtools for bootable disks, lz4 for kernels.
"""

import hashlib
import shlex
import shutil
from functools import lru_cache
from pathlib import Path

from lab.common import packages
from lab.common.shell import run

PACKAGES = ["gcc", "gcc-multilib", "libc6-dev", "make", "flex", "bison", "python3-minimal", "binutils", "patch"]
PACKAGES += ["dash", "bash", "coreutils", "findutils", "grep", "sed", "mawk", "gzip", "xz-utils", "tar", "diffutils"]
PACKAGES += ["perl-base", "lz4", "syslinux", "mtools", "dosfstools", "base-files", "base-passwd", "libc-bin", "hostname"]


@lru_cache(maxsize=None)
def root() -> Path:
    """The workshop's root, made if it is not in the cache."""
    files = packages.with_dependencies(PACKAGES)
    digest = hashlib.sha256(repr(sorted(file.name for file in files)).encode()).hexdigest()[:16]
    target = packages.store() / f"workshop-{digest}"
    with packages.locked("workshop"):
        if not target.exists():
            unfinished = target.with_name(target.name + ".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            packages.make_root(files, unfinished)
            unfinished.rename(target)
        packages.prune(target, "workshop-????????????????")
    return target


def work(directory: Path, script: str, *, timeout: float = 60) -> str:
    """Runs a shell script in the workshop with `directory` as its /mnt and working directory; returns its output."""
    inside = shlex.quote(f"cd /mnt; set -e; {script}")
    quoted = shlex.quote(str(root()))
    outside = f"mount --bind {shlex.quote(str(directory))} {quoted}/mnt; mount -t proc proc {quoted}/proc; "
    outside += f"mount --rbind /dev {quoted}/dev; exec chroot {quoted} /bin/sh -c {inside}"
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root", "TMPDIR": "/tmp"}
    done = run(["unshare", "--mount", "sh", "-ec", outside], timeout=timeout, env=environment)
    return done.stdout
