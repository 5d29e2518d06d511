"""A lab: a network, hosts A and B, guests, a client. Made when entered, gone without a trace when left.

    with Lab("demo") as lab:
        guest = lab.start_guest(GuestSpec(), on="A")
        client = lab.stream(guest)
        lab.link("repl").set(delay="1ms")
        lab.host("A").power_cut()
        print(client.finish())
"""

import os
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from lab.qemu import paths, remus
from lab.qemu.client_process import ClientProcess
from lab.qemu.errors import LabError
from lab.qemu.guest import Guest, GuestSpec
from lab.qemu.host import Host, HostProcess
from lab.qemu.link import Link
from lab.qemu.network import HOSTS, Network
from lab.qemu.registry import Registry, clear_orphans


class Lab:
    """Everything of one lab. Its name is part of all it makes; several labs may exist side by side."""

    def __init__(self, name: str | None = None, *, shm_size: str = "4g", disk_size: str = "1g") -> None:
        self.name = name or f"rl{secrets.token_hex(3)}"
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,32}", self.name):
            raise LabError(f"bad lab name '{self.name}': letters, digits, - and _, 32 at most")
        if os.geteuid() != 0:
            raise LabError("a lab needs root (network namespaces, taps): use sudo")
        self.directory: Path = paths.OUT / self.name
        self._sizes = {"shm_size": shm_size, "disk_size": disk_size}
        self._clients: list[ClientProcess] = []
        self._guests: list[Guest] = []
        self.network: Network | None = None
        self.hosts: dict[str, Host] = {}
        self._registry: Registry | None = None

    def __enter__(self) -> "Lab":
        self.up()
        return self

    def __exit__(self, *_) -> None:
        self.down()

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
            self.network = Network(self.name, self._registry)
            for name in HOSTS:
                self.hosts[name] = Host(
                    name, self.network, self._registry, self.directory / name, **self._sizes
                )
                self.hosts[name].boot()
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

    def host(self, name: str) -> Host:
        if name not in self.hosts:
            raise LabError(f"no host '{name}' (or the lab is not up): there are {', '.join(HOSTS)}")
        return self.hosts[name]

    def link(self, name: str) -> Link:
        """A link by name: 'repl' (A to B), 'lanA', 'lanB', 'client'."""
        return self.network.link(name)

    def start_guest(self, spec: GuestSpec | None = None, *, on: str = "A", wait: bool = True) -> Guest:
        """Starts a guest on a host; its tap exists on that host only (the product makes what its standby needs)."""
        spec = spec or GuestSpec()
        self.host(on).add_tap(spec.tap)
        guest = Guest(spec, self.host(on), self.network.client)
        self._guests.append(guest)
        if wait:
            guest.wait_for_boot()
        return guest

    def install_remus(self, extra_config: str = "") -> None:
        """Certificates and configuration on both hosts, and the daemons started."""
        remus.enroll(self.hosts)
        for name in self.hosts:
            remus.configure(self.host(name), extra_config)
            self.start_remus(name)

    def start_remus(self, on: str, env: dict[str, str] | None = None) -> HostProcess:
        """Starts (again) the daemon of a host that install_remus has set up."""
        return remus.start_remusd(self.host(on), env)

    def remus(
        self, on: str, *words: str | float, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess:
        """Runs a remus command on a host: lab.remus("A", "protect", "web1", ...)."""
        return remus.remus(self.host(on), *words, check=check, timeout=timeout)

    def remus_json(self, on: str, *words: str | float, timeout: float = 60):
        return remus.remus_json(self.host(on), *words, timeout=timeout)

    def client(self, *words: str | float, name: str = "client") -> ClientProcess:
        """A program of client/ (stream, latency, udp) with its arguments."""
        log = self.directory / f"{name}{len(self._clients)}.log"
        client = ClientProcess(self.network.client, self._registry, log, list(words))
        self._clients.append(client)
        return client

    def stream(self, guest: Guest, *words: str | float, within: float = 20) -> ClientProcess:
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
