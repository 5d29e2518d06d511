"""Conditions of a link: what a person writes ('1ms', '0.1%', '1gbit'), in the units the programs take."""

import re
from dataclasses import dataclass, replace

from lab.common.errors import LabError

_TIME_US = {"us": 1, "ms": 1000, "s": 1_000_000}
QUEUE_BYTES_MAX = 64 << 20
_RATE_KBIT = {"kbit": 1, "mbit": 1000, "gbit": 1_000_000}


def _number(text: str, units: dict[str, int], what: str) -> int:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([a-z]+)", text)
    if not found or found.group(2) not in units:
        raise LabError(f"bad {what} '{text}': want a number and one of {', '.join(units)}")
    return round(float(found.group(1)) * units[found.group(2)])


def _percent_ppm(text: str) -> int:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if not found or float(found.group(1)) > 100:
        raise LabError(f"bad loss '{text}': want a percentage from 0% to 100%")
    return round(float(found.group(1)) * 10_000)


@dataclass(frozen=True)
class Conditions:
    """One-way delay, loss and bandwidth, the same in both directions; 0 stands for none, or unlimited."""

    delay_us: int = 0
    loss_ppm: int = 0
    rate_kbit: int = 0

    def changed(self, delay: str | None, loss: str | None, rate: str | None) -> "Conditions":
        """These conditions with some of them replaced ('0ms', '0%' and '0kbit' take one away)."""
        result = self
        if delay is not None:
            result = replace(result, delay_us=_number(delay, _TIME_US, "delay"))
        if loss is not None:
            result = replace(result, loss_ppm=_percent_ppm(loss))
        if rate is not None:
            result = replace(result, rate_kbit=_number(rate, _RATE_KBIT, "rate"))
        return result

    @property
    def queue_bytes(self) -> int:
        """What may be under way or waiting: on a limited link what fits the wire and 50 ms of a switch's buffer."""
        if not self.rate_kbit:
            return QUEUE_BYTES_MAX
        bytes_per_ms = self.rate_kbit / 8
        return min(QUEUE_BYTES_MAX, round(bytes_per_ms * (self.delay_us / 1000 + 50)) + 65536)

    def netem(self) -> str:
        """As arguments of tc's netem."""
        words = [f"limit {self.queue_bytes // 1500}"]
        if self.delay_us:
            words.append(f"delay {self.delay_us}us")
        if self.loss_ppm:
            words.append(f"loss {self.loss_ppm / 10_000}%")
        if self.rate_kbit:
            words.append(f"rate {self.rate_kbit}kbit")
        return " ".join(words)

    def linkd(self) -> str:
        """As a line of settings for tools/linkd.c."""
        return f"{self.delay_us} {self.loss_ppm} {self.rate_kbit} {self.queue_bytes}\n"
