"""A guest on a host, started as an ordinary user would start it: stock QEMU, a tap, virtio-net, a QMP socket.

All paths in its command line are private to the host (/run/host) or the same on every host (kernel and initramfs in the
cache), so that the very same command line is right on the other host.
"""

import time
from dataclasses import dataclass, field

from lab.common import accel
from lab.common.disk_boot import disk_initramfs
from lab.common.disk_image import copy_of_disk
from lab.common.errors import LabError
from lab.common.image import initramfs
from lab.common.kernel import kernel
from lab.common.netns import NetNs
from lab.common.network import LAN_GATEWAY, PREFIX_BITS
from lab.common.userland import Userland
from lab.qemu.host import Host, HostProcess
from lab.qemu.qmp import Qmp
from lab.qemu.tcg_shim import tcg_shim

DISK_MODULES = ("virtio_pci", "virtio_net", "virtio_blk")  # ext4 is in the cloud kernel itself


@dataclass(frozen=True)
class GuestSpec:
    """What a guest is. `run` names the programs it starts: 'stream-server,echo-server,dirty:64:2000:text'."""

    name: str = "web1"
    memory_mib: int = 256
    cpus: int = 1
    mac: str = "52:54:00:77:00:20"
    address: str = "10.77.0.20"
    run: str = "stream-server,echo-server,counter"
    machine: str = "pc"
    disk: bool = False  # boots from an ext4 disk of its own (disk_image.py), with a database on it
    extra: tuple[str, ...] = field(default=())

    @property
    def tap(self) -> str:
        return f"tap-{self.name}"[:15]

    @property
    def qmp(self) -> str:
        """The QMP socket for the product (path on the host)."""
        return f"/run/host/{self.name}.qmp"

    @property
    def lab_qmp(self) -> str:
        return f"/run/host/{self.name}.lab.qmp"

    @property
    def serial(self) -> str:
        return f"/run/host/{self.name}.serial"

    @property
    def disk_file(self) -> str:
        """The image of its disk (path on the host); one that is there is booted from again."""
        return f"/run/host/{self.name}.disk"

    def command(self) -> list[str]:
        """QEMU's command line."""
        acceleration = "kvm" if accel.pick_accel() == "kvm" else "tcg,thread=multi"
        append = (
            "console=ttyS0 quiet loglevel=1 no_timer_check tsc=reliable mitigations=off random.trust_cpu=on panic=-1 "
            f"address={self.address}/{PREFIX_BITS},{LAN_GATEWAY} run={self.run}"
        )
        words = [
            accel.QEMU,
            "-name",
            self.name,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]
        words += [
            "-machine",
            self.machine,
            "-accel",
            acceleration,
            "-m",
            str(self.memory_mib),
            "-smp",
            str(self.cpus),
        ]
        if acceleration == "kvm":
            words += ["-cpu", "host"]
        ram_disk = disk_initramfs(kernel(), DISK_MODULES) if self.disk else initramfs(kernel())
        words += ["-kernel", str(kernel().image), "-initrd", str(ram_disk), "-append", append]
        if self.disk:
            words += ["-drive", f"if=virtio,format=raw,discard=unmap,file={self.disk_file}"]
        words += ["-chardev", f"file,id=serial0,path={self.serial},append=on", "-serial", "chardev:serial0"]
        words += ["-netdev", f"tap,id=net0,ifname={self.tap},script=no,downscript=no,vhost=off"]
        words += ["-device", f"virtio-net-pci,id=nic0,netdev=net0,mac={self.mac}"]
        words += [
            "-qmp",
            f"unix:{self.qmp},server=on,wait=off",
            "-qmp",
            f"unix:{self.lab_qmp},server=on,wait=off",
        ]
        return [*words, *self.extra]

    def environment(self) -> dict[str, str]:
        shim = tcg_shim()
        return {"LD_PRELOAD": str(shim)} if shim else {}


class Guest(Userland):
    """A guest that was started on `host` and is reached over the LAN from the client's namespace, wherever it runs now."""

    def __init__(self, spec: GuestSpec, host: Host, client: NetNs) -> None:
        super().__init__(spec.name, spec.address, client)
        self.spec = spec
        self.first_host = host
        if spec.disk and not host.path(spec.disk_file).exists():
            copy_of_disk(host.path(spec.disk_file))
        self._earlier_chars = len(
            self._serial_of(host)
        )  # an earlier guest of this name wrote to the same file
        self.process: HostProcess = host.spawn(
            spec.command(), name=f"qemu-{spec.name}", env=spec.environment()
        )

    def _serial_of(self, host: Host) -> str:
        path = host.directory / "host" / f"{self.spec.name}.serial"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def serial(self, host: Host | None = None) -> str:
        """What the guest wrote to its serial console on a host (the one it was started on, unless one is given)."""
        if host is None or host is self.first_host:
            return self._serial_of(self.first_host)[self._earlier_chars :]
        return self._serial_of(host)

    def wait_for_boot(self, within: float = 60) -> float:
        """Waits for BOOT-OK on the serial console; returns the seconds it took."""
        start = time.monotonic()
        while "BOOT-OK" not in self.serial():
            status = self.process.poll()
            if status is not None:
                raise LabError(
                    f"QEMU of {self.spec.name} ended with {status}: {self.process.log.read_text(errors='replace')[-1000:]}"
                )
            if time.monotonic() - start > within:
                raise LabError(
                    f"guest {self.spec.name} did not boot within {within} s; serial: {self.serial()[-500:]!r}"
                )
            time.sleep(0.02)
        return time.monotonic() - start

    def qmp(self, host: Host | None = None) -> Qmp:
        """A connection to the lab's own monitor of this guest."""
        return Qmp((host or self.first_host).path(self.spec.lab_qmp))

    def status(self, host: Host | None = None) -> str:
        """QEMU's run state: 'running', 'paused', ..."""
        with self.qmp(host) as qmp:
            return qmp.command("query-status")["status"]
