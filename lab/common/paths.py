"""Where things are: the source tree wherever it was cloned, the cache, the output of a lab."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
OUT = ROOT / "lab" / "out"
REGISTRY = Path("/run/remus-lab")


def cache() -> Path:
    """Kernels, guest images and compiled tools; content-addressed, so that it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(base) / "remus-lab"
    path.mkdir(parents=True, exist_ok=True)
    return path


def build() -> Path:
    """The build directory with the product (REMUS_BUILD overrides; else the 'test' preset's, else the 'release' one's)."""
    override = os.environ.get("REMUS_BUILD")
    if override:
        return Path(override).resolve()
    for preset in ("test", "release"):
        path = ROOT / "build" / preset
        if path.is_dir():
            return path
    return ROOT / "build" / "test"
