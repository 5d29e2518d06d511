"""The help that QEMU before 11 needs to be a checkpoint source under TCG: a library, built with the product (tcg-shim/)."""

import os
from pathlib import Path

from lab.common import paths
from lab.common.accel import pick_accel, qemu_version
from lab.common.errors import LabError


def tcg_shim() -> Path | None:
    """The library that QEMU before 11 needs to be a COLO source under TCG; None where none is needed."""
    if pick_accel() == "kvm" or qemu_version() >= (11, 0):
        return None
    override = os.environ.get("REMUS_LAB_TCG_SHIM")
    library = (
        Path(override) if override else paths.build() / "lab" / "qemu" / "tcg-shim" / "libremus_tcg_shim.so"
    )
    if not library.exists():
        raise LabError(
            f"{library} is missing: build it (`cmake --build {paths.build()} --target remus_tcg_shim`)"
        )
    return library
