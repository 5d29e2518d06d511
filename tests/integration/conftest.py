"""Fixtures of the integration tests: real hosts (namespaces), real guests, one lab per test module.

A requirement this machine does not meet skips every test that needs it, with the reason printed (`pytest -rs`) and counted.
When a test fails, the logs of every process of its lab are kept in lab/out/failed/<test>/.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import evidence  # noqa: E402
from account import Account  # noqa: E402
from lab.common import paths  # noqa: E402  (the path must be set first)
from lab.common.accel import QEMU  # noqa: E402
from lab.common.base_lab import BaseLab  # noqa: E402
from lab.common.registry import clear_orphans  # noqa: E402
from lab.qemu import Lab  # noqa: E402
from unharmed import Unharmed  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the long form: many repetitions of what is random")
    parser.addoption("--kills", type=int, metavar="N", help="kills a kind of guest (default 3; in the long form 10)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long_form: takes minutes; runs with --soak only")
    config.addinivalue_line("markers", "xen: on two Xen hosts in emulated machines (lab/xen)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What belongs to the long form is skipped with that reason, and counted."""
    if config.getoption("--soak"):
        return
    for item in items:
        if item.get_closest_marker("long_form"):
            item.add_marker(pytest.mark.skip(reason="in the long form only: ./test --soak"))


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for."""
    return request.config.getoption("--soak")


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest, soak: bool) -> int:
    """How often a guest's host dies where that is repeated."""
    return request.config.getoption("--kills") or (10 if soak else 3)


def missing_requirement() -> str | None:
    """What the lab needs and this machine lacks, in words; None if nothing."""
    if os.geteuid() != 0:
        return "the lab needs root (network namespaces, taps): run as root"
    for program in ("ip", "tc", "bridge", "nsenter", QEMU, "busybox"):
        if shutil.which(program) is None:
            return f"{program} is not installed: run ./install-dependencies.sh"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun cannot be opened: the kernel lacks tun, or this container hides it"
    made = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        return f"namespaces cannot be made here: {made.stderr.strip()}"
    return None


@pytest.fixture(scope="session")
def machine() -> None:
    """A machine that can carry a lab; what depends on it is skipped elsewhere."""
    reason = missing_requirement()
    if reason:
        pytest.skip(reason)
    clear_orphans()


@pytest.fixture(scope="module")
def lab(machine, request: pytest.FixtureRequest):
    """One lab for a module's tests: network and both hosts up, no guest, no remusd."""
    with Lab(f"t-{request.module.__name__.removeprefix('test_')[:16]}-{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="module")
def session(pair):
    """Of the module's guest: what it is to be after each refusal; call it."""
    session = Unharmed(pair)
    yield session
    session.finish()


@pytest.fixture
def unharmed(session):
    """After each test the guest is as it was, and nothing of the product is left."""
    yield
    session()
    session.nothing_left()


@pytest.fixture(scope="module")
def database(pair):
    """One client for all tests of a module: a database has one account."""
    database = Account(pair)
    yield database
    database.close()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Logs of labs are of use only when something failed."""
    if exitstatus == 0:
        for directory in paths.OUT.glob(f"t-*-{os.getpid()}"):
            shutil.rmtree(directory, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call):
    """Keeps every log of the lab when a test fails, before a later test overwrites it."""
    report = (yield).get_result()
    arguments = getattr(item, "funcargs", {})
    used = arguments.get("lab") or getattr(arguments.get("pair"), "lab", None)
    if report.failed and isinstance(used, BaseLab):
        test = item.nodeid.rpartition("/")[2] + ("" if report.when == "call" else f"-{report.when}")
        last_words = evidence.last_words(used)  # first: what is kept next has the processes stopped for seconds
        report.sections.append(("last words", last_words))
        report.sections.append(("artefacts", f"logs of every process: {evidence.keep(test, used)}"))
