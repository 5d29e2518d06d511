"""Before the story: a build of the product, with its progress shown."""

import os
import re
import shutil
import subprocess
from collections import deque

from lab.common import paths
from lab.common.errors import LabError
from lab.common.remus import program
from lab.demo.screen import Screen

PRESET = "release"
STEP = re.compile(r"\[(\d+)/(\d+)\]")
TAIL_LINES = 30


def build(screen: Screen, directory: os.PathLike | str | None, wanted: list[str]) -> None:
    """Builds `wanted` of the product in build/release, or takes the build in `directory` as it is."""
    if directory is not None:
        os.environ["REMUS_BUILD"] = str(directory)
    else:
        os.environ["REMUS_BUILD"] = str(paths.ROOT / "build" / PRESET)
        _follow(screen, ["cmake", "--preset", PRESET, "-Wno-dev"], "configuring")
        jobs = str(os.cpu_count() or 1)
        targets = [word for target in wanted for word in ("--target", target)]
        _follow(screen, ["cmake", "--build", "--preset", PRESET, "-j", jobs, *targets], "compiling")
    for name in wanted:
        if name.startswith("remus-") or name in ("remus", "remusd"):
            program(name)
    screen.note(f"Remus         {_shown(paths.build())}")


def _shown(path) -> str:
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else str(path)


def _follow(screen: Screen, command: list[str], what: str) -> None:
    """Runs a build command, shows how far it is, and shows its last lines if it fails."""
    paths.OUT.mkdir(parents=True, exist_ok=True)
    log = paths.OUT / "demo-build.log"
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    if shutil.which(command[0]) is None:
        raise LabError(f"{command[0]} is not installed: run ./install-dependencies.sh")
    with (
        open(log, "a" if what == "compiling" else "w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            cwd=paths.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout:
                file.write(line)
                tail.append(line.rstrip())
                found = STEP.match(line)
                if found:
                    done, total = int(found[1]), int(found[2])
                    screen.draw(
                        [f"          {what}  {screen.bar(done / total)}  {done} of {total}"],
                        f"{what}: {done} of {total}",
                    )
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        for line in tail:
            screen.say(line)
        raise LabError(f"{what} failed (`{' '.join(command)}`); the whole log is {_shown(log)}")

