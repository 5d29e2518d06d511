"""Network namespaces: every interface of the lab is born and dies inside one, none is ever seen on the machine itself."""

import subprocess
from pathlib import Path

from lab.common.errors import LabError
from lab.common.registry import Registry
from lab.common.shell import run


class NetNs:
    """A named network namespace, with loopback up and IPv6 off (no duplicate-address delays, no router noise)."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        self._registry = registry
        self.create()

    def create(self) -> None:
        self._registry.add_netns(self.name)
        run(["ip", "netns", "add", self.name])
        quiet = "cd /proc/sys/net/ipv6/conf 2>/dev/null && echo 1 > all/disable_ipv6 && echo 1 > default/disable_ipv6"
        run([*self.prefix(), "sh", "-c", f"{quiet}; ip link set lo up"])

    def delete(self) -> None:
        """Removes the namespace and, with it, its interfaces and every socket left in it."""
        if self.path.exists():
            run(["ip", "netns", "delete", self.name])

    def prefix(self) -> list[str]:
        """Words to put before a command, so that it runs here (same pid: nsenter does not fork)."""
        return ["nsenter", f"--net={self.path}", "--"]

    def ip(self, *commands: str, check: bool = True) -> str:
        """Runs ip(8) commands as one batch."""
        return self._batch("ip", commands, check)

    def _batch(self, program: str, commands: tuple[str, ...], check: bool) -> str:
        text = "\n".join(commands) + "\n"
        done = run([*self.prefix(), program, "-batch", "-"], input=text, check=False)
        if check and done.returncode != 0:
            raise LabError(
                f"in network namespace {self.name}: {done.stderr.strip()} (commands: {'; '.join(commands)})"
            )
        return done.stdout

    def run(self, command: list, **options) -> subprocess.CompletedProcess:
        return run([*self.prefix(), *command], **options)
