"""A host: its own network, processes, /run, /dev/shm, /etc/remus and /var/lib/remus, at the same paths on each host.

What is lost in a power cut is as on a real machine: processes, /run and /dev/shm go; /etc/remus and /var/lib/remus (the
host's disk) stay. /run/host is the host's directory for sockets and serial logs; it is lab/out/<lab>/<host>/host outside,
so that a test finds there what happened.
"""

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lab.common import shell
from lab.common.errors import LabError
from lab.common.network import HOSTS, Network
from lab.common.registry import Registry, end_process, start_time
from lab.common.remus import program
from lab.common.toolchain import compile_c

TOOLS = Path(__file__).resolve().parent / "tools"


@dataclass
class HostProcess:
    """A program running on a host: `pid` as seen from outside."""

    name: str
    pid: int
    log: Path
    _wrapper: subprocess.Popen

    def poll(self) -> int | None:
        """None while it runs, then its exit status (128 + signal where it was killed)."""
        return self._wrapper.poll()

    def wait(self, within: float) -> int:
        try:
            return self._wrapper.wait(within)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name} (pid {self.pid}) did not end within {within} s") from error

    def stop(self, within: float = 10) -> int:
        """SIGTERM, and SIGKILL if that is not heard in time."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            return self._wrapper.wait(within)
        except ProcessLookupError:
            return self._wrapper.wait(within)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            return self._wrapper.wait(within)


class Host:
    """One host of a lab. Created switched off: call boot()."""

    def __init__(
        self,
        name: str,
        network: Network,
        registry: Registry,
        directory: Path,
        *,
        shm_size: str,
        disk_size: str,
    ) -> None:
        self.build: Path | None = None  # where its programs come from, if not from the lab's build
        self.name = name
        self.addresses = HOSTS[name]
        self.directory = directory
        self.shm_size = shm_size
        self._network = network
        self._registry = registry
        self._taps: list[str] = []
        self._init: subprocess.Popen | None = None
        self._init_pid = 0
        (directory / "host").mkdir(parents=True, exist_ok=True)
        self._keeper = self._start([compile_c(TOOLS / "labhost.c"), "keeper", directory, disk_size], "keeper")
        self._read_line(self._keeper, "keeper")
        self._write_hosts_file()

    def _start(self, command: list, what: str) -> subprocess.Popen:
        with open(self.directory / f"{what}.log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._registry.add_process(process.pid)
        return process

    def _read_line(self, process: subprocess.Popen, what: str) -> str:
        ready, _, _ = select.select([process.stdout], [], [], 10)
        line = process.stdout.readline().strip() if ready else ""
        if not line:
            process.kill()
            process.wait()
            raise LabError(
                f"host {self.name}: its {what} did not start: {(self.directory / f'{what}.log').read_text().strip()}"
            )
        return line

    def _write_hosts_file(self) -> None:
        lines = ["127.0.0.1 localhost"]
        lines += [
            f"{address.repl} host{name}\n{address.lan} host{name}-lan" for name, address in HOSTS.items()
        ]
        Path("/proc", str(self._keeper.pid), "root", "etc", "hosts").write_text(
            "\n".join(lines) + "\n", encoding="utf-8"
        )

    # -- power ---------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self._init is not None and self._init.poll() is None

    @property
    def init_pid(self) -> int:
        """The host's first process, as seen outside; only meaningful while the host is up."""
        return self._init_pid

    def boot(self) -> None:
        """Switches the host on: network, empty /run and /dev/shm, the disk as it was left, no process but its init."""
        if self.is_up:
            raise LabError(f"host {self.name} is up already")
        if not self._network.hosts[self.name].path.exists():
            self._network.replace_host(self.name)
        netns = self._network.hosts[self.name].path
        command = [
            compile_c(TOOLS / "labhost.c"),
            "init",
            self._keeper.pid,
            netns,
            self.shm_size,
            f"host{self.name}",
            self.directory,
        ]
        self._init = self._start(command, "init")
        self._init_pid = int(self._read_line(self._init, "init"))
        self._registry.add_process(self._init_pid)
        for tap in self._taps:
            self._make_tap(tap)

    def power_cut(self) -> None:
        """Everything at once, as if the plug was pulled: first nothing gets out any more, then no process lives."""
        if not self.is_up:
            raise LabError(f"host {self.name} is down already")
        self._network.unplug_host(self.name)
        self._kill_init()
        self._network.remove_host(self.name)

    def _kill_init(self) -> None:
        end_process(self._init_pid, start_time(self._init_pid))
        try:
            # The init's parent outlives the last process of the host: see tools/labhost.c.
            self._init.wait(20)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"host {self.name}: processes survive SIGKILL: {self.pids()}") from error

    def kill_all(self) -> None:
        """SIGKILL to every process, but the host stays on: its kernel closes their connections (FIN, RST)."""
        deadline = time.monotonic() + 10
        while self.pids():
            for pid in self.pids():
                self._kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"host {self.name}: processes survive SIGKILL: {self.pids()}")
            time.sleep(0.01)

    # -- processes -----------------------------------------------------------------------------------------------

    def _exec(self, command: list, pid_fd: int = -1) -> list[str]:
        if not self.is_up:
            raise LabError(f"host {self.name} is down: cannot run {command[0]}")
        return [
            str(compile_c(TOOLS / "labhost.c")),
            "exec",
            str(self._init_pid),
            str(pid_fd),
            "--",
            *[str(word) for word in command],
        ]

    def run(
        self, command: list, *, timeout: float = 30, check: bool = True, **options
    ) -> subprocess.CompletedProcess:
        """Runs a command on the host to its end, output as text."""
        return shell.run(self._exec(command), timeout=timeout, check=check, **options)

    def spawn(
        self, command: list, *, name: str | None = None, env: dict[str, str] | None = None
    ) -> HostProcess:
        """Starts a program on the host; its output goes to lab/out/<lab>/<host>/<name>.log."""
        name = name or Path(str(command[0])).name
        log_path = self.directory / f"{name}.log"
        reader, writer = os.pipe()
        with open(log_path, "ab") as log:
            wrapper = subprocess.Popen(
                self._exec(command, writer), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writer],
                env={**os.environ, **(env or {})}, start_new_session=True,
            )  # fmt: skip
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.readline().strip()
        if not text:
            wrapper.wait(10)
            raise LabError(
                f"host {self.name}: cannot start {name}: {log_path.read_text(errors='replace')[-500:].strip()}"
            )
        return HostProcess(name, int(text), log_path, wrapper)

    def pids(self, name: str | None = None) -> list[int]:
        """Processes of the host (but its init), as seen outside; those whose program is `name`, if one is given."""
        if not self.is_up:
            return []
        mine = os.readlink(f"/proc/{self._init_pid}/ns/pid")
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == self._init_pid or start_time(int(entry)) is None:
                continue
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") == mine and (name is None or name in _names(entry)):
                    found.append(int(entry))
            except OSError:
                continue  # it ended meanwhile, or is not ours to look at, hence not the host's
        return sorted(found)

    def processes(self) -> dict[int, str]:
        """What runs on the host: pid to name."""
        found = {}
        for pid in self.pids():
            try:
                found[pid] = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
            except OSError:
                continue  # ended meanwhile
        return found

    def signal(self, pid: int, which: int) -> None:
        """Sends a signal to a process of this host; a pid that is not the host's is refused."""
        if pid not in self.pids():
            raise LabError(f"pid {pid} is no process of host {self.name}")
        self._kill(pid, which)

    @staticmethod
    def _kill(pid: int, which: int) -> None:
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            pass  # it ended by itself in the meantime

    # -- files and interfaces ------------------------------------------------------------------------------------

    def path(self, inside: str) -> Path:
        """A path of the host, as the lab reaches it from outside."""
        return Path(f"/proc/{self._init_pid}/root") / inside.lstrip("/")

    def write(self, inside: str, content: str | bytes, mode: int = 0o644) -> None:
        """Writes a file of the host, whole, as a new file."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def read_bytes(self, inside: str) -> bytes:
        return self.path(inside).read_bytes()

    def files_in(self, inside: str) -> dict[str, int]:
        """Files of a directory of the host, with their modes."""
        return {file.name: file.stat().st_mode & 0o777 for file in self.path(inside).iterdir()}

    def program(self, name: str) -> Path:
        """A program of the build, where the host sees it: the same files as the machine's."""
        return program(name, self.build)

    def add_tap(self, name: str) -> None:
        """A tap for a guest in the host's bridge; like an administrator's, it is there again after each boot."""
        if name not in self._taps:
            self._taps.append(name)
            self._make_tap(name)

    def _make_tap(self, name: str) -> None:
        self._network.hosts[self.name].ip(f"tuntap add dev {name} mode tap", f"link set {name} master br0 up")

    def close(self) -> None:
        """Switches the host off for good, disk and all."""
        if self.is_up:
            self._network.unplug_host(self.name)
            self._kill_init()
        self._keeper.kill()
        self._keeper.wait()
        for process in (self._init, self._keeper):
            if process is not None:
                process.stdout.close()


def _names(pid: str) -> set[str]:
    """Names a process goes by: its own, its program's file, its first argument's file."""
    names = {Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()}
    names.add(Path(os.readlink(f"/proc/{pid}/exe")).name.removesuffix(" (deleted)"))
    first = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    names.add(Path(os.fsdecode(first)).name)
    return names
