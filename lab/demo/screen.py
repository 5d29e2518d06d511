"""What a person sees: lines that stay, and below them one panel that is redrawn in place.

On a terminal the panel is redrawn and coloured (NO_COLOR and --plain are respected); elsewhere there are lines only, and a
panel becomes one short line now and then, so that a log stays readable.
"""

import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
PLAIN_EVERY_S = 1.0
MARGIN = " " * 10


class Screen:
    """Lines and a panel. `live` says whether a panel can be redrawn here."""

    def __init__(self, *, plain: bool, out=None) -> None:
        self._out = out or sys.stdout
        terminal = self._out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.live = terminal and not plain
        self._colours = self.live and not os.environ.get("NO_COLOR")
        locale = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
        self.fancy = self.live and "utf" in locale.lower()
        self._drawn = 0
        self._next_plain = 0.0
        self._began = time.monotonic()

    # -- colours -------------------------------------------------------------------------------------------------

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text

    def bold(self, text: str) -> str:
        return self._paint("1", text)

    def dim(self, text: str) -> str:
        return self._paint("2", text)

    def good(self, text: str) -> str:
        return self._paint("32", text)

    def warn(self, text: str) -> str:
        return self._paint("33", text)

    def bad(self, text: str) -> str:
        return self._paint("1;31", text)

    # -- lines that stay -----------------------------------------------------------------------------------------

    def say(self, text: str = "") -> None:
        """A line that stays, above the panel if there is one."""
        self._erase()
        self._write(text + "\n")

    def step(self, title: str) -> None:
        """Opens a part of the story; the number is the seconds since the start."""
        self.say()
        self.say(f"{self.dim(f'{time.monotonic() - self._began:6.1f} s')}  {self.bold(title)}")

    def note(self, text: str, *, head: str = "", paint: Callable[[str], str] = str) -> None:
        """A line of a part, behind `head`; on a terminal, what is too wide goes on below its own beginning."""
        indent = len(MARGIN) + len(ESCAPE.sub("", head))
        room = max(20, shutil.get_terminal_size().columns - 1 - indent) if self.live else sys.maxsize
        first, *more = textwrap.wrap(text, room, break_on_hyphens=False) or [""] if len(text) > room else [text]
        self.say(f"{MARGIN}{head}{paint(first)}")
        for line in more:
            self.say(f"{' ' * indent}{paint(line)}")

    # -- the panel -----------------------------------------------------------------------------------------------

    def draw(self, lines: list[str], plain: str | None = None) -> None:
        """Redraws the panel. Where that cannot be, prints `plain` (if given), at most once a second."""
        if not self.live:
            if plain is not None and time.monotonic() >= self._next_plain:
                self._next_plain = time.monotonic() + PLAIN_EVERY_S
                self.note(plain)
            return
        width, height = shutil.get_terminal_size()
        lines = [clip(line, width - 1) for line in lines[: max(1, height - 1)]]
        text = "\x1b[?25l" + self._home() + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"
        self._drawn = len(lines)
        self._write(text)

    def keep(self) -> None:
        """Lets the panel stand as it is: what comes next goes below it."""
        self._drawn = 0
        self._next_plain = 0.0

    def bar(self, part: float, width: int = 40) -> str:
        """A progress bar for a part of 0 ... 1."""
        part = min(1.0, max(0.0, part))
        done = round(part * width)
        full, rest = ("█", "░") if self.fancy else ("#", ".")
        return f"{self.good(full * done)}{self.dim(rest * (width - done))} {part * 100:3.0f} %"

    def close(self) -> None:
        """Gives the cursor back."""
        if self.live:
            self._write("\x1b[?25h")

    def _home(self) -> str:
        return f"\x1b[{self._drawn}A\r" if self._drawn else "\r"

    def _erase(self) -> None:
        if self._drawn:
            self._write(self._home() + "\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def clip(line: str, width: int) -> str:
    """Cuts a line to so many visible characters; escape sequences count nothing and are never cut apart."""
    kept, visible, position = [], 0, 0
    for found in [*ESCAPE.finditer(line), None]:
        end = found.start() if found else len(line)
        part = line[position:end][: width - visible]
        kept.append(part)
        visible += len(part)
        if found:
            kept.append(found.group())
            position = found.end()
    return "".join(kept)
