"""Runs a command of the machine, with a bound in time and an error a person can act on."""

import shlex
import subprocess

from lab.common.errors import LabError


def run(command: list, *, timeout: float = 30, check: bool = True, **options) -> subprocess.CompletedProcess:
    """Runs `command` to its end and returns it, output as text. A failure or a timeout (seconds) raises LabError."""
    command = [str(word) for word in command]
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed: run ./install-dependencies.sh") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{shlex.join(command)}` did not end within {timeout} s") from error
    if check and done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"`{shlex.join(command)}` failed with {done.returncode}: {output}")
    return done
