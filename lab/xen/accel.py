"""What runs the emulated machines: KVM where it gives a guest hardware virtualization of its own, else TCG.

The flags for TCG were each found the hard way: with SMAP or SMEP the dom0 kernel dies; with PKU a PVH guest dies setting up
XSAVE; RDTSCP leaves SVM by the wrong exit, so that a guest gets #GP; XSAVE with Xen's lazy FPU switching corrupts SIMD
registers in silence, hence no XSAVE, no AVX, and `eager-fpu=1`.
"""

import os
from functools import lru_cache
from pathlib import Path

from lab.common import accel

TCG_CPU = "max,-smap,-smep,-pku,-rdtscp,-xsave,-avx,-avx2"


def _kvm_nests() -> bool:
    for name in ("kvm_intel", "kvm_amd"):
        parameter = Path(f"/sys/module/{name}/parameters/nested")
        if parameter.exists() and parameter.read_text(encoding="ascii").strip() in ("Y", "1"):
            return True
    return False


@lru_cache(maxsize=None)
def pick_accel() -> str:
    """'kvm' or 'tcg'. REMUS_LAB_XEN_ACCEL overrides."""
    override = os.environ.get("REMUS_LAB_XEN_ACCEL")
    if override:
        return override
    return "kvm" if _kvm_nests() and accel.pick_accel() == "kvm" else "tcg"


def cpu_words(ns_per_instruction: int | None = None) -> list[str]:
    """QEMU's arguments for the machine's processor; with a clock that counts instructions, if told (TCG then, whatever there is)."""
    if ns_per_instruction is not None:
        shift = ns_per_instruction.bit_length() - 1
        return ["-accel", "tcg,thread=single,tb-size=512", "-icount", f"shift={shift}", "-rtc", "clock=vm", "-cpu", TCG_CPU]
    if pick_accel() == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", TCG_CPU]
