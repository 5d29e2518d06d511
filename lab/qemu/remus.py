"""The product on the lab's hosts: certificates, configuration, daemon, commands. All that the lab knows of Remus is here."""

import json
import os
import subprocess
import time
from pathlib import Path

from lab.common import paths
from lab.common.errors import LabError
from lab.common.network import HOSTS
from lab.qemu.host import Host, HostProcess
from lab.qemu.tcg_shim import tcg_shim

PKI = "/etc/remus/pki"
CONFIG = "/etc/remus/remus.toml"
SOCKET = "/run/remus/remusd.sock"


def program(name: str) -> Path:
    """A program of the build: remus, remusd, remus-guard."""
    found = [p for p in (paths.build() / "src").rglob(name) if p.is_file() and os.access(p, os.X_OK)]
    if not found:
        raise LabError(
            f"{name} is not built in {paths.build()}: cmake --preset test && cmake --build --preset test"
        )
    return found[0]


def host_name(name: str) -> str:
    """The name of lab host 'A' in certificates and commands: 'hostA'."""
    return f"host{name}"


def remus(
    host: Host, *words: str | int | float, check: bool = True, timeout: float = 60
) -> subprocess.CompletedProcess:
    """Runs a remus command on a host."""
    return host.run([program("remus"), *words], check=check, timeout=timeout)


def remus_json(host: Host, *words: str | int | float, timeout: float = 60):
    """Runs a remus command with --json and returns what it says."""
    output = remus(host, *words, "--json", timeout=timeout).stdout
    try:
        return json.loads(output)
    except json.JSONDecodeError as error:
        raise LabError(
            f"`remus {' '.join(map(str, words))} --json` said no JSON: {output[:300]!r}"
        ) from error


def enroll(hosts: dict[str, Host]) -> None:
    """A certificate authority on A, a certificate for each host, and each host's files on that host."""
    first, authority = hosts["A"], "/run/remus-ca"
    remus(first, "cert", "init", authority)
    for name, host in hosts.items():
        issue_certificate(first, authority, host_name(name), host)


def issue_certificate(first: Host, authority: str, name: str, onto: Host, *options: str | int) -> None:
    """Issues a certificate where the authority is, and puts its files into the other host's PKI directory."""
    issued = f"/run/remus-issued/{name}"
    first.path(issued).parent.mkdir(exist_ok=True)
    own = HOSTS[onto.name]
    addresses = ["--address", own.repl, "--address", own.lan]
    remus(first, "cert", "issue", authority, name, issued, *addresses, *options)
    onto.path(PKI).mkdir(parents=True, exist_ok=True)
    for file in first.path(issued).iterdir():
        target = onto.path(PKI) / file.name
        target.unlink(missing_ok=True)
        target.write_bytes(file.read_bytes())
        target.chmod(file.stat().st_mode & 0o777)


def configure(host: Host, extra: str = "") -> None:
    """Writes /etc/remus/remus.toml: this host, and the other one over both its addresses."""
    lines = [
        "[host]",
        f'name = "{host_name(host.name)}"',
        "",
        "[paths]",
        f"guard = {json.dumps(str(program('remus-guard')))}",
        "",
    ]
    lines += ["[log]", 'level = "debug"', 'dir = "/run/host"', ""]
    for name, addresses in HOSTS.items():
        if name != host.name:
            lines += [
                f"[peers.{host_name(name)}]",
                f'addresses = ["{addresses.repl}", "{addresses.lan}"]',
                "",
            ]
    host.write(CONFIG, "\n".join(lines) + extra)


def start_remusd(host: Host, env: dict[str, str] | None = None, within: float = 20) -> HostProcess:
    """Starts the daemon and waits until it answers.

    `env` may arm fault points (REMUS_FAULT). The library that TCG needs is handed on to the QEMU that a guard starts: the
    standby may become a checkpoint source in its turn.
    """
    shim = tcg_shim()
    environment = {**({"LD_PRELOAD": str(shim)} if shim else {}), **(env or {})}
    daemon = host.spawn([program("remusd"), "--config", CONFIG], name="remusd", env=environment)
    deadline = time.monotonic() + within
    while remus(host, "status", "--json", check=False).returncode != 0:
        if daemon.poll() is not None:
            raise LabError(
                f"remusd on host {host.name} ended with {daemon.poll()}: {daemon.log.read_text(errors='replace')[-1500:]}"
            )
        if time.monotonic() > deadline:
            raise LabError(f"remusd on host {host.name} does not answer after {within} s; see {daemon.log}")
        time.sleep(0.05)
    return daemon
