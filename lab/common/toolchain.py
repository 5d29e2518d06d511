"""Compiles the lab's small C programs, once: the result is kept under the hash of sources, flags and compiler."""

import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path

from lab.common import paths
from lab.common.errors import LabError
from lab.common.shell import run

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]


@lru_cache(maxsize=None)
def compiler() -> tuple[str, str]:
    """The C compiler and its version."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name, run([name, "--version"]).stdout.splitlines()[0]
    raise LabError("no C compiler found: run ./install-dependencies.sh")


@lru_cache(maxsize=None)
def compile_c(source: Path, *flags: str) -> Path:
    """Compiles one C file (headers beside it count as its sources) into the cache and returns the program."""
    program, version = compiler()
    arguments = ["-O2", "-g0", "-D_GNU_SOURCE", *WARNINGS, *flags]
    digest = hashlib.sha256(repr((version, arguments)).encode())
    for part in [source, *sorted(source.parent.glob("*.h"))]:
        digest.update(part.read_bytes())
    target = paths.cache() / "bin" / f"{source.stem}-{digest.hexdigest()[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        run([program, *arguments, "-o", unfinished, source, "-ldl"], timeout=120)
        unfinished.rename(target)
    return target
