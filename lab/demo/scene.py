"""Where the story plays: what differs between guests of QEMU and domains of Xen. The story itself knows neither."""

import argparse
from abc import ABC, abstractmethod

from lab.common.base_lab import BaseLab
from lab.common.server import BaseServer
from lab.demo.screen import Screen


class Scene(ABC):
    """One kind of hosts and guests. `patience_s`: against hanging only; emulated machines take their time."""

    patience_s: float
    record_every_s: float  # of the session, either way
    runner: str  # the lab's own command, for a person who looks around afterwards
    targets: list[str]  # what is built for it
    detect: list[str]  # options of `remus protect`: how soon a silent host counts as dead

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def programs(self) -> str:
        """What the guest is started with."""
        return ",".join(filter(None, ["stream-server", "echo-server", "counter", self._options.work]))

    @abstractmethod
    def prepare(self, screen: Screen) -> None:
        """Guest images and whatever else takes long the first time; says what will run the guest."""

    @abstractmethod
    def lab(self) -> BaseLab:
        """The lab, not entered yet."""

    @abstractmethod
    def start_guest(self, lab):
        """Boots web1 on host A."""

    @abstractmethod
    def protect_words(self, guest) -> list[str]:
        """`remus` and these words, as a person would type them on host A."""

    @abstractmethod
    def victims(self, host) -> tuple[str, dict[int, str]]:
        """What a power cut at this host ends: in words, and as processes of this machine (pid to name)."""

    @abstractmethod
    def runs(self, host, guest) -> bool:
        """Whether the hypervisor itself says that the guest is there, whatever Remus says."""

    @abstractmethod
    def server(self, lab, guests: dict) -> BaseServer:
        """What the lab's own command asks while the lab is kept up."""

    @abstractmethod
    def look_around(self) -> list[tuple[str, str]]:
        """Further words for the lab's command, and what they do."""
