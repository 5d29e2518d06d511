"""The emulated machine of a host: QEMU's command line, from Xen as the multiboot kernel down to the taps."""

from dataclasses import dataclass
from pathlib import Path

from lab.common.network import HOSTS, PREFIX_BITS
from lab.xen import patched_qemu
from lab.xen.accel import cpu_words, pick_accel
from lab.xen.dom0_image import Dom0
from lab.xen.network import MGMT_HOST


@dataclass(frozen=True)
class MachineSpec:
    """Sizes of a host. The dom0 has one processor: in an emulated machine more make it slower.

    `ns_per_instruction`: the machine's clock counts instructions, so many ns each (a power of 2), instead of time. What else
    the machine under it does is then not seen in it: durations measured inside can be compared whatever the load.
    """

    memory_mib: int = 2048
    dom0_memory_mib: int = 768
    cpus: int = 1
    ns_per_instruction: int | None = None


def _xen_arguments(spec: MachineSpec) -> str:
    words = ["console=com1", "com1=115200,8n1", "noreboot", "loglvl=warning", "guest_loglvl=error"]
    words += [f"dom0_mem={spec.dom0_memory_mib}M,max:{spec.dom0_memory_mib}M", "dom0_max_vcpus=1", "dom0_vcpus_pin"]
    if pick_accel() == "tcg":
        words += ["spec-ctrl=no", "eager-fpu=1"]
    return " ".join(words)


def _dom0_arguments(name: str) -> str:
    addresses = HOSTS[name]
    words = ["console=hvc0", "quiet", "mitigations=off", "net.ifnames=0", "nokaslr", "panic=-1"]
    words += [f"lab.name=host{name}", f"lab.lan={addresses.lan}/{PREFIX_BITS}"]
    words += [f"lab.repl={addresses.repl}/{PREFIX_BITS}", f"lab.mgmt={MGMT_HOST}/{PREFIX_BITS}"]
    return " ".join(words)


def command(name: str, spec: MachineSpec, hypervisor: Path, dom0: Dom0, guests: Path, directory: Path) -> list[str]:
    """QEMU's words for host `name`, whose disk, console log and shared directory are in `directory`."""
    words = [*patched_qemu.words(), "-name", f"host{name}", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc"]
    words += [*cpu_words(spec.ns_per_instruction), "-smp", str(spec.cpus), "-m", str(spec.memory_mib)]
    words += ["-chardev", f"file,id=com1,path={directory}/console.log,append=on", "-serial", "chardev:com1"]
    # Several files after -initrd are multiboot modules, each with its own arguments: dom0's kernel and its initramfs.
    words += ["-kernel", str(hypervisor), "-append", _xen_arguments(spec)]
    words += ["-initrd", f"{dom0.kernel} {_dom0_arguments(name)},{dom0.initramfs}"]
    # A power cut of the lab does not take this machine's page cache away: nothing need be flushed to a real disk.
    words += ["-drive", f"file={directory}/disk.qcow2,if=none,id=root,format=qcow2,cache=unsafe"]
    words += ["-device", "virtio-blk-pci,drive=root,addr=4"]
    words += ["-drive", f"file={guests},if=none,id=lab,format=raw,read-only=on", "-device", "virtio-blk-pci,drive=lab,addr=5"]
    for slot, tap in enumerate(("lan", "repl", "mgmt")):
        mac = f"52:54:00:77:{slot:02x}:{1 if name == 'A' else 2:02x}"
        words += ["-netdev", f"tap,id={tap},ifname=tap-{tap},script=no,downscript=no,vhost=off"]
        words += ["-device", f"virtio-net-pci,netdev={tap},mac={mac},romfile=,addr={6 + slot}"]
    words += ["-virtfs", f"local,path={directory}/host,mount_tag=host,security_model=none,multidevs=remap"]
    return words
