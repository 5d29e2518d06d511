"""What the front ends of all labs (lab/*/run) share: asking a lab that stays up, and the commands every lab knows."""

import argparse
import json
import os
import select
import socket
import sys
from collections.abc import Callable

from lab.common import paths
from lab.common.errors import LabError
from lab.common.server import socket_path

HOSTS = ["A", "B"]
LINKS = ["repl", "lanA", "lanB", "client"]


def ask(lab: str, command: str, **fields):
    """Asks the lab's process."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(socket_path(lab)))
        except OSError as error:
            raise LabError(f"no lab '{lab}' is up: sudo {sys.argv[0]} up") from error
        connection.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
        answer = json.loads(connection.makefile().readline())
    if not answer["ok"]:
        raise LabError(answer["error"])
    return answer["result"]


def start(lab: str, serve: Callable[[int], None], within: float) -> None:
    """Starts the lab's process, which calls serve(ready_fd), and waits until it is up (`within` s at most)."""
    log_path = paths.cache() / f"lab-{lab}.log"
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(reader)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for descriptor, target in ((os.open("/dev/null", os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        serve(writer)
        os._exit(0)
    os.close(writer)
    ready = select.select([reader], [], [], within)[0]
    said = os.read(reader, 65536).decode() if ready else f"it is not up after {within:.0f} s; see {log_path}"
    if said != "ok":
        raise LabError(said or f"the lab's process ended; see {log_path}")


def links_text(links: dict) -> str:
    """The links of a lab's status, a line each."""
    lines = []
    for name, link in links.items():
        words = [f"{link['delay_us']} us"] * bool(link["delay_us"])
        words += [f"loss {link['loss_ppm'] / 10000}%"] * bool(link["loss_ppm"])
        words += [f"{link['rate_kbit']} kbit/s"] * bool(link["rate_kbit"])
        lines.append(f"link {name:7} {'CUT' if link['cut'] else 'connected'}  {', '.join(words)}")
    return "\n".join(lines)


def client(options: argparse.Namespace) -> None:
    """Becomes a client program in the client's namespace."""
    namespace = f"--net=/run/netns/{options.lab}-client"
    program = str(paths.HERE / "client")
    os.execvp("nsenter", ["nsenter", namespace, "--", sys.executable, program, *options.words])


class Commands:
    """The command line of a front end: the commands every lab knows, and room for its own."""

    def __init__(self, program: str, text: str, default_lab: str) -> None:
        self._program = program
        self._parser = argparse.ArgumentParser(
            prog=program, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._parser.add_argument(
            "--lab", default=default_lab, metavar="NAME", help="which lab (default: %(default)s)"
        )
        self._commands = self._parser.add_subparsers(required=True, metavar="COMMAND")

    def add(self, name: str, action: Callable, text: str) -> argparse.ArgumentParser:
        command = self._commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        return command

    def plain(self, name: str, text: str, what: str, choices: list[str]) -> None:
        """A command with one argument, sent to the lab as it is."""
        command = self.add(name, lambda o: ask(o.lab, name, **{what: getattr(o, what)}), text)
        command.add_argument(what, choices=choices)

    def add_common(self) -> None:
        """Client, links, boot, down."""
        command = self.add(
            "client", client, "runs a client program (stream, latency, udp) in the client's namespace"
        )
        command.add_argument("words", nargs=argparse.REMAINDER)
        command = self.add(
            "link",
            lambda o: ask(o.lab, "link", link=o.link, delay=o.delay, loss=o.loss, rate=o.rate),
            "sets a link's conditions",
        )
        command.add_argument("link", choices=LINKS)
        command.add_argument("--delay", help="one-way, e.g. 1ms")
        command.add_argument("--loss", help="e.g. 0.1%%")
        command.add_argument("--rate", help="e.g. 1gbit")
        self.plain("cut", "cuts a link", "link", LINKS)
        self.plain("restore", "restores a link", "link", LINKS)
        self.plain("boot", "boots a host again", "host", HOSTS)
        self.plain("remusd", "starts the daemon of a host (again)", "host", HOSTS)
        self.add("install", lambda o: ask(o.lab, "install"), "sets Remus up on both hosts and starts the daemons")
        self.add("down", lambda o: ask(o.lab, "down"), "ends everything; logs stay")

    def run(self) -> int:
        """Does what the command line asks; returns the exit status."""
        options = self._parser.parse_args()
        if os.geteuid() != 0:
            print(f"{self._program}: needs root: use sudo", file=sys.stderr)
            return 1
        try:
            options.action(options)
        except LabError as error:
            print(f"{self._program}: {error}", file=sys.stderr)
            return 1
        return 0
