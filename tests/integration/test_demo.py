"""`./demo` as a person runs it: its story, its verdict, its exit status, and that it says no when the guest is lost."""

import os
import signal
import subprocess

import pytest
from eventually import eventually

from lab.common import paths
from lab.common.registry import all_labs

LIMIT_S = 240  # against hanging only
CLAIMS = [
    "host A is dead",
    "the guest runs on host B",
    "B's memory was A's before",
    "the TCP session lives on",
    "records to the client",
    "records to the guest",
    "the guest's uptime goes on",
    "the guest never restarted",
]


@pytest.fixture
def lab_name(machine) -> str:
    return f"t-demo-{os.getpid()}"


def command(lab_name: str, *options: str) -> list[str]:
    return [str(paths.ROOT / "demo"), "--build-dir", str(paths.build()), "--lab", lab_name, "--seconds", "2", *options]


def demo(lab_name: str, *options: str) -> subprocess.CompletedProcess:
    # From another directory: nothing may depend on where it is started.
    done = subprocess.run(
        command(lab_name, *options), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT_S, check=False,
    )  # fmt: skip
    print(done.stdout, done.stderr)
    return done


def claims_of(output: str) -> dict[str, bool]:
    """The verdict's lines: claim to whether it holds."""
    found = {}
    for line in output.splitlines():
        mark, _, rest = line.strip().partition(" ")
        claim = next((claim for claim in CLAIMS if rest.strip().startswith(claim)), None)
        if mark in ("ok", "FAIL") and claim:
            found[claim] = mark == "ok"
    return found


def left_behind(lab_name: str) -> list[str]:
    return [name for _, name, _ in all_labs() if name == lab_name]


def test_the_guest_survives_and_the_verdict_says_so(lab_name):
    done = demo(lab_name)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert claims_of(done.stdout) == dict.fromkeys(CLAIMS, True)
    assert "ALL RIGHT" in done.stdout and "NOT RIGHT" not in done.stdout
    assert "0 lost, 0 duplicated, 0 changed" in done.stdout
    assert "ms detection" in done.stdout and "ms activation" in done.stdout
    assert "\x1b" not in done.stdout, "escape sequences where there is no terminal"
    assert left_behind(lab_name) == []


def test_a_guest_that_is_lost_gives_a_verdict_that_says_so(lab_name):
    done = demo(lab_name, "--kill", "both", "--wait", "6")
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr
    claims = claims_of(done.stdout)
    assert claims["host A is dead"] and claims["B's memory was A's before"]
    for claim in ("the guest runs on host B", "the TCP session lives on", "the guest's uptime goes on", "the guest never restarted"):
        assert claims[claim] is False, claim
    assert "NOT RIGHT" in done.stdout and "ALL RIGHT" not in done.stdout
    assert left_behind(lab_name) == []


def test_an_interrupt_leaves_nothing_behind(lab_name):
    process = subprocess.Popen(
        command(lab_name, "--seconds", "600"), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored, where the tests run in the background
    )  # fmt: skip
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "client:" in line:
                break
        assert left_behind(lab_name) == [lab_name], "".join(lines)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest = process.communicate(timeout=LIMIT_S)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, rest
    eventually(lambda: left_behind(lab_name) == [], 20, what="the lab is cleared away")


def test_a_build_directory_without_a_build_is_a_clear_error(lab_name, tmp_path):
    done = subprocess.run(
        [*command(lab_name), "--build-dir", str(tmp_path)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 1
    assert "not built" in done.stdout and "Traceback" not in done.stderr


def test_help_needs_nothing(lab_name):
    done = subprocess.run([str(paths.ROOT / "demo"), "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "examples:" in done.stdout
