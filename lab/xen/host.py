"""A host: an emulated machine with Xen and a dom0, run as a process of this machine.

What is lost in a power cut is what a real machine loses: memory, processes, guests. Its disk stays, as it was written
(`disk.qcow2` over the image in the cache), until the lab is taken down. /run/host on the host is lab/out/<lab>/<host>/host
outside, and holds guests' consoles and logs; so they can be read whatever became of the host.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lab.common import paths, remus
from lab.common.errors import LabError
from lab.common.network import HOSTS
from lab.common.registry import Registry, end_process, start_time
from lab.common.shell import run
from lab.xen import agent, dom0_image, guest_image, hypervisor, machine
from lab.xen.machine import MachineSpec
from lab.xen.network import XenNetwork

BOOT_S_MAX = 600


def stripped(program: Path) -> Path:
    """A copy in the cache without debugging symbols: an emulated machine reads few MiB a second."""
    target = paths.cache() / "bin" / f"{program.name}-{hashlib.sha256(program.read_bytes()).hexdigest()[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        run(["strip", "-o", unfinished, program])
        unfinished.rename(target)
    return target


class HostProcess:
    """A program running on a host: `pid` as the host counts."""

    def __init__(self, name: str, log: Path, netns: Path, words: list[str]) -> None:
        self.name = name
        self.log = log
        self._file = open(log, "ab")
        self._earlier_bytes = self._file.tell()  # an earlier program of this name wrote to the same file
        self._lock = threading.Lock()
        self.running = agent.Running(netns, words, self._write)
        self.pid = self.running.pid

    def _write(self, _: str, content: bytes) -> None:
        with self._lock:
            self._file.write(content)
            self._file.flush()

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_bytes()[self._earlier_bytes :].decode(errors="replace")

    def poll(self) -> int | None:
        """None while it runs, then its exit status (128 + signal where it was killed; 137 where its host was)."""
        return self.running.status

    def wait(self, within: float) -> int:
        status = self.running.wait(within)
        if status is None:
            raise LabError(f"{self.name} (pid {self.pid}) did not end within {within} s")
        return status

    def stop(self, within: float = 10) -> int:
        """SIGTERM, and SIGKILL if that is not heard in time."""
        self.running.signal(signal.SIGTERM)
        status = self.running.wait(within)
        if status is None:
            self.running.signal(signal.SIGKILL)
            status = self.wait(within)
        return status

    def close(self) -> None:
        self.running.close()
        self._file.close()


@dataclass(frozen=True)
class Domain:
    """A line of `xl list`."""

    name: str
    id: int
    memory_mib: int
    vcpus: int
    state: str  # as xl writes it: 'r-----', '-b----', '--p---'


class Host:
    """One host of a lab. Created switched off: call boot()."""

    def __init__(
        self, name: str, network: XenNetwork, registry: Registry, directory: Path, spec: MachineSpec, *, stock_xen: bool
    ) -> None:
        self.name = name
        self.addresses = HOSTS[name]
        self.directory = directory
        self.spec = spec
        self.boot_s = 0.0  # how long the last boot took
        self._network = network
        self._registry = registry
        self._hypervisor = hypervisor.stock() if stock_xen else hypervisor.with_shadow_paging()
        self._dom0 = dom0_image.dom0()
        self._machine: subprocess.Popen | None = None
        self._processes: list[HostProcess] = []
        self._switched_on = 0.0
        self._programs: dict[str, str] = {}  # what is on its disk: name to the content's name
        (directory / "host").mkdir(parents=True, exist_ok=True)
        self._disk = directory / "disk.qcow2"
        registry.add_file(self._disk)
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self._dom0.disk, self._disk])

    # -- power ---------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self._machine is not None and self._machine.poll() is None

    @property
    def machine_pid(self) -> int:
        """The emulated machine's process; only meaningful while the host is up."""
        return self._machine.pid if self._machine is not None else 0

    @property
    def _netns(self) -> Path:
        return self._network.hosts[self.name].path

    @property
    def console(self) -> str:
        """What Xen and the dom0 wrote to the serial console since the machine was made."""
        path = self.directory / "console.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def switch_on(self) -> None:
        """Starts the machine; wait_until_up() tells when it is of use."""
        if self.is_up:
            raise LabError(f"host {self.name} is up already")
        if not self._netns.exists():
            self._network.replace_host(self.name)
        self._earlier_chars = len(self.console)
        words = machine.command(
            self.name, self.spec, self._hypervisor, self._dom0, guest_image.image(), self.directory
        )
        self._switched_on = time.monotonic()
        with open(self.directory / "machine.log", "ab") as log:
            self._machine = subprocess.Popen(
                [*self._network.hosts[self.name].prefix(), "nice", "-n", "10", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._registry.add_process(self._machine.pid)

    def wait_until_up(self, within: float = BOOT_S_MAX) -> float:
        """Waits until Xen, the dom0 and the toolstack answer; returns the seconds since it was switched on."""
        while "READY" not in self.console[self._earlier_chars :]:
            if not self.is_up:
                log = (self.directory / "machine.log").read_text(errors="replace")[-500:]
                raise LabError(f"host {self.name}: its machine ended: {log.strip()}")
            if time.monotonic() - self._switched_on > within:
                raise LabError(f"host {self.name} is not up after {within} s; console: {self.console[-600:]!r}")
            time.sleep(0.05)
        self.boot_s = time.monotonic() - self._switched_on
        return self.boot_s

    def boot(self) -> float:
        """Switches the host on and waits; returns the seconds it took."""
        self.switch_on()
        return self.wait_until_up()

    def power_cut(self) -> None:
        """Everything at once, as if the plug was pulled: first nothing gets out any more, then the machine is gone."""
        if not self.is_up:
            raise LabError(f"host {self.name} is down already")
        self._network.unplug_host(self.name)
        self._kill()
        self._network.remove_host(self.name)

    def _kill(self) -> None:
        end_process(self._machine.pid, start_time(self._machine.pid))
        self._machine.wait(20)
        for process in self._processes:
            process.close()
        self._processes = []

    # -- processes -----------------------------------------------------------------------------------------------

    def _words(self, command: list) -> list[str]:
        if not self.is_up:
            raise LabError(f"host {self.name} is down: cannot run {command[0]}")
        return [str(word) for word in command]

    def run(
        self, command: list, *, timeout: float = 60, check: bool = True, input: str | bytes = b""
    ) -> subprocess.CompletedProcess:
        """Runs a command in the dom0 to its end, output as text."""
        words = self._words(command)
        content = input.encode() if isinstance(input, str) else input
        done = agent.run(self._netns, words, content, timeout)
        done.stdout = done.stdout.decode(errors="replace")
        done.stderr = done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            output = (done.stderr.strip() or done.stdout.strip())[-2000:]
            raise LabError(f"on host {self.name}, `{' '.join(words)}` failed with {done.returncode}: {output}")
        return done

    def shell(self, script: str, *, timeout: float = 60, check: bool = True) -> str:
        """Runs a shell script in the dom0; returns its output."""
        return self.run(["bash", "-c", script], timeout=timeout, check=check).stdout

    def spawn(self, command: list, *, name: str | None = None, env: dict[str, str] | None = None) -> HostProcess:
        """Starts a program in the dom0; its output goes to lab/out/<lab>/<host>/<name>.log."""
        words = self._words(command)
        name = name or Path(words[0]).name
        if env:
            words = ["env", *[f"{key}={value}" for key, value in env.items()], *words]
        process = HostProcess(name, self.directory / f"{name}.log", self._netns, words)
        self._processes.append(process)
        return process

    def processes(self) -> dict[int, str]:
        """What runs in the dom0: pid to name. Kernel threads are left out."""
        listed = self.run(["ps", "-e", "-o", "pid=,ppid=,comm="]).stdout.split("\n")
        found = {}
        for line in listed:
            words = line.split(None, 2)
            if len(words) == 3 and words[0] not in ("1", "2") and words[1] != "2" and words[2] != "ps":
                found[int(words[0])] = words[2]
        return found

    def pids(self, name: str) -> list[int]:
        """Processes of the dom0 whose program is `name`."""
        found = self.run(["pidof", name], check=False).stdout.split()
        return sorted(int(pid) for pid in found)

    def signal(self, pid: int, which: int) -> None:
        """Sends a signal to a process of the dom0."""
        self.run(["kill", f"-{int(which)}", pid])

    # -- files ---------------------------------------------------------------------------------------------------

    def write(self, inside: str, content: str | bytes, mode: int = 0o644) -> None:
        """Writes a file of the host, whole; it survives a power cut."""
        script = 'mkdir -p "$(dirname "$0")" && umask 077 && cat > "$0.new" && chmod "$1" "$0.new" && mv "$0.new" "$0"'
        self.run(["sh", "-c", f'{script} && sync "$0"', inside, f"{mode:o}"], input=content)

    def read(self, inside: str) -> str:
        return self.run(["cat", inside]).stdout

    def read_bytes(self, inside: str) -> bytes:
        return agent.run(self._netns, self._words(["cat", inside]), b"", 30).stdout

    def files_in(self, inside: str) -> dict[str, int]:
        """Files of a directory of the host, with their modes."""
        lines = self.shell(f"cd {inside} && stat -c '%a %n' *").splitlines()
        return {line.partition(" ")[2]: int(line.partition(" ")[0], 8) for line in lines}

    def program(self, name: str) -> str:
        """A program of the build, put on the host's disk (without debugging symbols) when it is not there yet."""
        built = stripped(remus.program(name))
        inside = f"/usr/local/bin/{name}"
        if self._programs.get(name) != built.name:
            shared = self.path(f"/run/host/{built.name}")
            shutil.copy(built, shared)
            self.shell(f"install -m 755 /run/host/{built.name} {inside} && sync {inside}")
            shared.unlink()
            self._programs[name] = built.name
        return inside

    def path(self, inside: str) -> Path:
        """A file in the host's /run/host, as it is reached from outside, also when the host is down."""
        if not inside.startswith("/run/host/"):
            raise LabError(f"only /run/host of host {self.name} is seen from outside, not {inside}: use read()")
        return self.directory / "host" / inside.removeprefix("/run/host/")

    # -- Xen -----------------------------------------------------------------------------------------------------

    def xl(self, *words: str | int | float, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess:
        """Runs an xl command."""
        return self.run(["xl", *words], check=check, timeout=timeout)

    def domains(self) -> dict[str, Domain]:
        """The guests Xen has, running or not, as `xl list` tells; without Domain-0."""
        found = {}
        for line in self.xl("list").stdout.splitlines()[1:]:
            name, number, memory, vcpus, state, _ = line.rsplit(None, 5)
            if number != "0":
                found[name] = Domain(name, int(number), int(memory), int(vcpus), state)
        return found

    def close(self) -> None:
        """Switches the host off for good, disk and all."""
        if self.is_up:
            self._network.unplug_host(self.name)
            self._kill()
        self._disk.unlink(missing_ok=True)
