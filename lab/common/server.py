"""A lab that stays up between commands: one process owns it and answers its front end (lab/*/run) over a unix socket.

One request a connection, a line of JSON each way: {"command": "cut", "link": "repl"} → {"ok": true, "result": ...}.
"""

import json
import os
import signal
import socket
from pathlib import Path

from lab.common import paths
from lab.common.base_lab import BaseLab
from lab.common.errors import LabError

REQUEST_BYTES_MAX = 65536


def socket_path(name: str) -> Path:
    return paths.REGISTRY / f"{name}.sock"


class BaseServer:
    """Owns a lab until it is told `down`, or gets SIGTERM or SIGINT."""

    def __init__(self, lab: BaseLab, guests: dict | None = None) -> None:
        self._lab = lab
        self._guests: dict = dict(guests or {})
        self._going = True

    def serve(self, listener: socket.socket) -> None:
        while self._going:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                try:
                    request = json.loads(connection.makefile().readline(REQUEST_BYTES_MAX))
                    answer = {"ok": True, "result": self._answer(request)}
                except (LabError, OSError, ValueError) as error:
                    answer = {"ok": False, "error": str(error)}
                try:
                    connection.sendall(json.dumps(answer).encode() + b"\n")
                except OSError:
                    pass  # who asked has gone

    def _answer(self, request: dict):
        handler = getattr(self, f"_do_{request.pop('command')}", None)
        if handler is None:
            raise LabError("no such command")
        return handler(**request)

    def _do_down(self) -> None:
        self._going = False

    def _links(self) -> dict:
        """Every link and its conditions."""
        links = self._lab.network.links
        return {name: {"cut": link.is_cut, **link.conditions.__dict__} for name, link in links.items()}

    def _do_link(self, link: str, **conditions) -> None:
        self._lab.link(link).set(**conditions)

    def _do_cut(self, link: str) -> None:
        self._lab.link(link).cut()

    def _do_restore(self, link: str) -> None:
        self._lab.link(link).restore()

    def _do_boot(self, host: str) -> None:
        self._lab.host(host).boot()

    def _do_install(self) -> None:
        self._lab.install_remus()

    def _do_remusd(self, host: str) -> None:
        self._lab.start_remus(host)


def run(lab: BaseLab, server: type[BaseServer], ready_fd: int) -> None:
    """The process of a lab: makes it, tells `ready_fd` ("ok" or the error), serves, takes it down."""
    path = socket_path(lab.name)
    try:
        with lab, socket.socket(socket.AF_UNIX) as listener:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(8)
            os.write(ready_fd, b"ok")
            os.close(ready_fd)
            for which in (signal.SIGTERM, signal.SIGINT):
                signal.signal(which, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
            try:
                server(lab).serve(listener)
            except KeyboardInterrupt:
                pass
            finally:
                path.unlink(missing_ok=True)
    except LabError as error:
        try:
            os.write(ready_fd, str(error).encode())
        except OSError:
            raise error from None
