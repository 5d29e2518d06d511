"""The product on a lab's hosts: certificates, configuration, daemon, commands. All that a lab knows of Remus is here.

A host, of whichever lab, has: run(), spawn(), write(), read_bytes(), files_in(), and program(), the path there of a program
of the build.
"""

import json
import os
import subprocess
import time
from pathlib import Path

from lab.common import paths
from lab.common.errors import LabError
from lab.common.network import HOSTS

PKI = "/etc/remus/pki"
CONFIG = "/etc/remus/remus.toml"
SOCKET = "/run/remus/remusd.sock"


def program(name: str, build: Path | None = None) -> Path:
    """A program of the build (or of another one): remus, remusd, remus-guard."""
    build = build or paths.build()
    found = [p for p in (build / "src").rglob(name) if p.is_file() and os.access(p, os.X_OK)]
    if not found:
        raise LabError(
            f"{name} is not built in {build}: cmake --preset test && cmake --build --preset test"
        )
    return found[0]


def host_name(name: str) -> str:
    """The name of lab host 'A' in certificates and commands: 'hostA'."""
    return f"host{name}"


def remus(
    host, *words: str | int | float, check: bool = True, timeout: float = 60
) -> subprocess.CompletedProcess:
    """Runs a remus command on a host."""
    return host.run([host.program("remus"), *words], check=check, timeout=timeout)


def remus_json(host, *words: str | int | float, timeout: float = 60):
    """Runs a remus command with --json and returns what it says."""
    output = remus(host, *words, "--json", timeout=timeout).stdout
    try:
        return json.loads(output)
    except json.JSONDecodeError as error:
        raise LabError(
            f"`remus {' '.join(map(str, words))} --json` said no JSON: {output[:300]!r}"
        ) from error


def enroll(hosts: dict) -> None:
    """A certificate authority on A, a certificate for each host, and each host's files on that host. What is there stays."""
    first, authority = hosts["A"], "/run/remus-ca"
    if all(host.run(["test", "-e", f"{PKI}/host.crt"], check=False).returncode == 0 for host in hosts.values()):
        return
    remus(first, "cert", "init", authority)
    for name, host in hosts.items():
        issue_certificate(first, authority, host_name(name), host)


def issue_certificate(first, authority: str, name: str, onto, *options: str | int) -> None:
    """Issues a certificate where the authority is, and puts its files into the other host's PKI directory."""
    issued = f"/run/remus-issued/{name}"
    first.run(["mkdir", "-p", "/run/remus-issued"])
    own = HOSTS[onto.name]
    addresses = ["--address", own.repl, "--address", own.lan]
    remus(first, "cert", "issue", authority, name, issued, *addresses, *options)
    for file, mode in first.files_in(issued).items():
        onto.write(f"{PKI}/{file}", first.read_bytes(f"{issued}/{file}"), mode)


def configure(host, extra: str = "") -> None:
    """Writes /etc/remus/remus.toml: this host, and the other one over both its addresses."""
    lines = [
        "[host]",
        f'name = "{host_name(host.name)}"',
        "",
        "[paths]",
        f"guard = {json.dumps(str(host.program('remus-guard')))}",
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


def start_remusd(host, env: dict[str, str] | None = None, within: float = 20):
    """Starts the daemon and waits until it answers.

    `env` may arm fault points (REMUS_FAULT).
    """
    daemon = host.spawn([host.program("remusd"), "--config", CONFIG], name="remusd", env=env)
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
