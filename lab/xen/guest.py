"""A guest on a Xen host, started as an xl user would start it: a configuration file and `xl create`.

| kind     | what it is                                                      | dirty pages are followed by |
|----------|-----------------------------------------------------------------|-----------------------------|
| pv       | 64-bit paravirtual Linux                                        | shadow paging               |
| pvh      | 64-bit Linux in hardware virtualization, no device model        | HAP                         |
| hvm      | 64-bit Linux booted by a BIOS, PV drivers, device model QEMU    | HAP                         |
| hvm-nopv | the same that does not know of Xen: virtio-net, no PV drivers   | HAP                         |
| pvh32    | 32-bit (PAE) Linux                                              | shadow paging               |
| hvm32    | 32-bit (PAE) Linux booted by a BIOS, PV drivers                 | shadow paging               |
| pv32     | a 32-bit (PAE) paravirtual guest of the lab's own (pv32/)       | shadow paging               |

pv32 is no Linux: it serves the session and `stat("counter")`, `stat("suspends")`, `stat("moves")`, and runs no programs; with
run="suspend-event" it offers an event channel to be asked to suspend by, as no Linux of today does. Kernels and initramfs are on every host's /lab; an HVM guest's disk is put on both hosts, at the same path, so that the very
same configuration is right on the other host.
"""

import hashlib
import time
from dataclasses import dataclass, field

from lab.common.disk_image import copy_of_disk
from lab.common.errors import LabError
from lab.common.netns import NetNs
from lab.common.network import LAN_GATEWAY, PREFIX_BITS
from lab.common.userland import Userland
from lab.xen import guest_image
from lab.xen.host import Host

KINDS = ("pv", "pvh", "hvm", "hvm-nopv", "pvh32", "hvm32", "pv32")
DISKS = "/var/lib/remus-lab"
BOOT_S_MAX = 600


@dataclass(frozen=True)
class GuestSpec:
    """What a guest is. `run` names the programs it starts: 'stream-server,echo-server,dirty:64:2000:text'."""

    name: str = "web1"
    kind: str = "pvh"
    memory_mib: int = 192
    cpus: int = 1
    mac: str = "00:16:3e:77:00:20"
    more_macs: tuple[str, ...] = ()  # of further network interfaces; the guest brings up the first
    address: str = "10.77.0.20"
    network: str = "bridge=xenbr0"  # what its network interfaces are attached to, in the words of xl's `vif`
    run: str = "stream-server,echo-server,counter"
    disk: bool = False  # its root is an ext4 disk (common/disk_image.py), with a database on it; 64-bit kinds only
    extra: tuple[str, ...] = field(default=())  # further lines of the configuration

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LabError(f"no kind of guest '{self.kind}': there are {', '.join(KINDS)}")

    @property
    def bits(self) -> int:
        return 32 if self.kind.endswith("32") else 64

    @property
    def has_bios(self) -> bool:
        """Whether a BIOS starts it."""
        return self.kind.startswith("hvm")

    @property
    def boots_from_disk(self) -> bool:
        """Whether its kernel is on a disk of its own, and not handed to it: from an emulated IDE disk a BIOS takes minutes."""
        return self.has_bios and not (self.disk and self.kind == "hvm-nopv")

    @property
    def paravirtual(self) -> bool:
        """Whether it needs no virtualization by the processor."""
        return self.kind in ("pv", "pv32")

    @property
    def config(self) -> str:
        """Where its configuration is, on every host."""
        return f"/etc/xen/{self.name}.cfg"

    @property
    def boot_disk(self) -> str:
        """What its BIOS boots from."""
        return f"{DISKS}/{self.name}.img"

    @property
    def root_device(self) -> str:
        """The virtual device of its root, where that is a disk: an HVM guest may boot from another one."""
        return "hdb" if self.boots_from_disk else "hda" if self.has_bios else "xvda"

    @property
    def root(self) -> str:
        """The image of its root."""
        return f"{DISKS}/{self.name}.root"

    def arguments(self) -> str:
        """The kernel's command line."""
        # Without Xen's clock the kernel would read emulated timers, each read a trip to Xen.
        console = "xen_nopv nopv no_timer_check tsc=reliable" if self.kind == "hvm-nopv" else "console=hvc0"
        if self.disk:
            console += f" root=/dev/{ {'hvm': 'xvdb', 'hvm-nopv': 'sda'}.get(self.kind, 'xvda') }"
        return (
            f"{console} quiet loglevel=1 mitigations=off random.trust_cpu=on panic=-1 "
            f"address={self.address}/{PREFIX_BITS},{LAN_GATEWAY} run={self.run}"
        )

    def config_text(self) -> str:
        """The configuration for xl."""
        kind = "hvm" if self.has_bios else self.kind.removesuffix("32")
        model = {"hvm-nopv": ",model=virtio-net-pci", "pv": "", "pvh": "", "pvh32": "", "pv32": ""}.get(self.kind, ",type=vif")
        lines = [f'name = "{self.name}"', f'type = "{kind}"', f"memory = {self.memory_mib}", f"maxmem = {self.memory_mib}"]
        vifs = ", ".join(f"'mac={mac},{self.network}{model}'" for mac in (self.mac, *self.more_macs))
        lines += [f"vcpus = {self.cpus}", f"vif = [{vifs}]", 'on_crash = "preserve"']
        disks = [("hda", self.boot_disk)] if self.boots_from_disk else []
        disks += [(self.root_device, self.root)] if self.disk else []
        if disks:
            words = ", ".join(f"'format=raw,vdev={vdev},access=rw,backendtype=qdisk,target={image}'" for vdev, image in disks)
            lines += [f"disk = [{words}]"]
        if self.has_bios:
            # The BIOS boots faster from AHCI, for which the cloud kernel has no driver: it serves where the kernel needs no emulated disk.
            lines += ['hdtype = "ahci"'] if self.boots_from_disk else []
            lines += ['vga = "none"', "nographic = 1", "vnc = 0"]
        if not self.boots_from_disk:
            kernel, ram_disk = "vmlinuz" if self.has_bios else "kernel", "diskrd" if self.disk else "initrd"
            own = [f'kernel = "/lab/{kernel}{self.bits}"', f'ramdisk = "/lab/{ram_disk}{self.bits}"']
            lines += ['kernel = "/lab/pv32"'] if self.kind == "pv32" else own
            lines += [f'extra = "{self.arguments()}"']
        if not self.paravirtual:
            lines += ['tsc_mode = "native"']  # an emulated processor has no invariant TSC: each RDTSC would trap
        if self.bits == 32 and not self.paravirtual:
            lines += ["hap = 0"]  # 32-bit PAE with HAP spins in an emulated machine
        return "\n".join([*lines, *self.extra]) + "\n"


class Guest(Userland):
    """A guest that was started on `host` and is reached over the LAN from the client's namespace, wherever it runs now."""

    SHELL_S = 60.0  # an emulated host on a busy machine takes its time

    def __init__(self, spec: GuestSpec, host: Host, client: NetNs) -> None:
        super().__init__(spec.name, spec.address, client)
        self.spec = spec
        self.first_host = host
        self.boot_s = 0.0  # from `xl create` to its first answer
        self._created = time.monotonic()
        self._earlier_chars = len(self._serial_of(host))
        host.xl("create", "-q", spec.config)

    def _serial_of(self, host: Host) -> str:
        path = host.path(f"/run/host/console/guest-{self.spec.name}.log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def serial(self, host: Host | None = None) -> str:
        """What the guest wrote to its console on a host; nothing where it has none (hvm-nopv)."""
        if host is None or host is self.first_host:
            return self._serial_of(self.first_host)[self._earlier_chars :]
        return self._serial_of(host)

    def domain_id(self, host: Host | None = None) -> int:
        """Its number on a host; LabError if that host does not have it."""
        return int((host or self.first_host).xl("domid", self.spec.name).stdout)

    def wait_for_boot(self, within: float = BOOT_S_MAX) -> float:
        """Waits until it answers over the network, its programs started; returns the seconds since `xl create` began."""
        while True:
            try:
                self.shell("test -e /run/booted", timeout=10)
            except LabError as error:
                if time.monotonic() - self._created > within:
                    state = self.first_host.domains().get(self.spec.name)
                    raise LabError(
                        f"guest {self.spec.name} ({self.spec.kind}) did not boot within {within} s ({error}); "
                        f"Xen has {state}; console: {self.serial()[-500:]!r}"
                    ) from error
                time.sleep(0.1)
            else:
                self.boot_s = time.monotonic() - self._created
                return self.boot_s

    def destroy(self, host: Host | None = None) -> None:
        """Ends it on a host at once (`xl destroy`)."""
        (host or self.first_host).xl("destroy", self.spec.name)


def place(spec: GuestSpec, hosts: list[Host]) -> None:
    """Puts the guest's configuration, and what its BIOS boots from if it has one, on these hosts; its root on the first."""
    for host in hosts:
        host.write(spec.config, spec.config_text())
        host.shell(f"mkdir -p {DISKS}")
    if spec.disk:
        shared = hosts[0].path(f"/run/host/{spec.name}.root")
        copy_of_disk(shared)
        hosts[0].shell(f"cp --sparse=always /run/host/{spec.name}.root {spec.root}")
        shared.unlink()
    if not spec.boots_from_disk:
        return
    name = f"{spec.name}-{hashlib.sha256(spec.arguments().encode()).hexdigest()[:8]}.img"
    for host in hosts:
        shared = host.path(f"/run/host/{name}")
        guest_image.boot_disk(spec.bits, spec.arguments(), shared, to_disk=spec.disk)
        host.shell(f"cp /run/host/{name} {spec.boot_disk} && sync {spec.boot_disk}")
        shared.unlink()
