"""Hosts as network namespaces, a guest in QEMU."""

import os

from lab.common import paths
from lab.common.accel import pick_accel, qemu_version
from lab.common.image import initramfs
from lab.common.kernel import META_PACKAGE, kernel
from lab.common.shell import run
from lab.demo.scene import Scene
from lab.demo.screen import Screen
from lab.qemu import GuestSpec, Lab
from lab.qemu.guest import Guest
from lab.qemu.server import Server


class QemuScene(Scene):
    patience_s = 300
    record_every_s = 0.005
    runner = "lab/qemu/run"
    targets = ["remus", "remusd", "remus-guard", "remus_tcg_shim"]
    detect: list[str] = []

    def prepare(self, screen: Screen) -> None:
        """The guest's kernel and userland, and KVM or TCG, found out by trial."""
        if not os.environ.get("REMUS_LAB_KERNEL") and not any((paths.cache() / "kernel").glob("linux-image-*")):
            screen.note("fetching Debian's cloud kernel for the guest (nothing is installed on this machine)")
            if run(["apt-cache", "show", META_PACKAGE], check=False).returncode != 0:
                run(["apt-get", "update"], timeout=300)
        found = kernel()
        image = initramfs(found)
        memory = self._options.memory
        screen.note(f"guest         Linux {found.release}, {memory} MiB, userland of {image.stat().st_size >> 10} KiB")
        version = ".".join(map(str, qemu_version()))
        if pick_accel() == "kvm":
            screen.note(f"runs under    QEMU {version} with KVM")
        else:
            if os.environ.get("REMUS_LAB_ACCEL"):
                why = "as REMUS_LAB_ACCEL asks"
            elif os.path.exists("/dev/kvm"):
                why = "the KVM here cannot run the guest"
            else:
                why = "there is no KVM here"
            screen.note(f"runs under    QEMU {version} with TCG, an emulator ({why}), hence slowly")

    def lab(self) -> Lab:
        return Lab(self._options.lab, shm_size=f"{max(4096, 3 * self._options.memory)}m")

    def start_guest(self, lab: Lab) -> Guest:
        return lab.start_guest(GuestSpec(memory_mib=self._options.memory, run=self.programs()), on="A")

    def protect_words(self, guest: Guest) -> list[str]:
        return ["protect", guest.spec.name, "--qmp", guest.spec.qmp, "--to", "hostB"]

    def victims(self, host) -> tuple[str, dict[int, str]]:
        found = host.processes()
        return f"{len(found)} processes killed at once: {', '.join(sorted(set(found.values())))}", found

    def runs(self, host, guest: Guest) -> bool:
        return any("qemu" in name for name in host.processes().values())

    def server(self, lab: Lab, guests: dict) -> Server:
        return Server(lab, guests)

    def look_around(self) -> list[tuple[str, str]]:
        return []
