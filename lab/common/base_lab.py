"""What any lab is: a name that all it makes begins with, a network, hosts A and B, clients; made when entered, gone when left.

A lab of its own kind says how its network and hosts are made (`_make`) and how it ends its hosts (Host.close).
"""

import os
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from lab.common import paths, remus
from lab.common.client_process import ClientProcess
from lab.common.errors import LabError
from lab.common.link import Link
from lab.common.network import HOSTS, Network
from lab.common.registry import Registry, clear_orphans


class BaseLab:
    """Everything of one lab but its guests. Several labs may exist side by side."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"rl{secrets.token_hex(3)}"
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,32}", self.name):
            raise LabError(f"bad lab name '{self.name}': letters, digits, - and _, 32 at most")
        if os.geteuid() != 0:
            raise LabError("a lab needs root (network namespaces, taps): use sudo")
        self.directory: Path = paths.OUT / self.name
        self.network: Network | None = None
        self.hosts: dict = {}
        self._clients: list[ClientProcess] = []
        self._registry: Registry | None = None

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_) -> None:
        self.down()

    def _make(self, registry: Registry) -> None:
        """Makes the network and boots both hosts."""
        raise NotImplementedError

    def up(self) -> None:
        """Makes the network and boots both hosts."""
        clear_orphans()
        try:
            self._registry = Registry(self.name)
        except FileExistsError as error:
            raise LabError(
                f"a lab named '{self.name}' is up already: choose another name, or take it down"
            ) from error
        try:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)
            self._make(self._registry)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Ends and removes everything but the logs in lab/out/<lab>/."""
        if self._registry is None:
            return
        for client in self._clients:
            client.close()
        for host in self.hosts.values():
            host.close()
        if self.network is not None:
            self.network.close()
        self._registry.clear()
        self._registry = None
        self.network = None
        self.hosts = {}

    def host(self, name: str):
        if name not in self.hosts:
            raise LabError(f"no host '{name}' (or the lab is not up): there are {', '.join(HOSTS)}")
        return self.hosts[name]

    def link(self, name: str) -> Link:
        """A link by name: 'repl' (A to B), 'lanA', 'lanB', 'client'."""
        return self.network.link(name)

    def install_remus(self, extra_config: str = "") -> None:
        """Certificates and configuration on both hosts, and the daemons started."""
        remus.enroll(self.hosts)
        for name in self.hosts:
            remus.configure(self.host(name), extra_config)
            self.start_remus(name)

    def start_remus(self, on: str, env: dict[str, str] | None = None):
        """Starts (again) the daemon of a host that install_remus has set up."""
        return remus.start_remusd(self.host(on), {**self.daemon_environment(), **(env or {})})

    def remus(
        self, on: str, *words: str | float, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess:
        """Runs a remus command on a host: lab.remus("A", "protect", "web1", ...)."""
        return remus.remus(self.host(on), *words, check=check, timeout=timeout)

    def remus_json(self, on: str, *words: str | float, timeout: float = 60):
        return remus.remus_json(self.host(on), *words, timeout=timeout)

    def daemon_environment(self) -> dict[str, str]:
        """What a daemon of this lab needs in its environment."""
        return {}

    def client(self, *words: str | float, name: str = "client") -> ClientProcess:
        """A program of client/ (stream, latency, udp) with its arguments."""
        log = self.directory / f"{name}{len(self._clients)}.log"
        client = ClientProcess(self.network.client, self._registry, log, list(words))
        self._clients.append(client)
        return client

    def stream(self, guest, *words: str | float, within: float = 20) -> ClientProcess:
        """A verified session with the guest's stream-server; returns once records have come."""
        client = self.client("stream", guest.spec.address, *words, name="stream")
        deadline = time.monotonic() + within
        while not client.stats.get("records_in"):
            if not client.running or time.monotonic() > deadline:
                raise LabError(
                    f"no record came from {guest.spec.name} within {within} s: {client.verdict or client.log.read_text()[-300:]}"
                )
            time.sleep(0.02)
        return client
