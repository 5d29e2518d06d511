"""The lab itself: what the other tests stand on must be true first."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from eventually import eventually

from lab.common.accel import pick_accel
from lab.common.registry import all_labs, clear_orphans
from lab.qemu import GuestSpec, Lab, LabError


@pytest.fixture(scope="module")
def guest(lab):
    return lab.start_guest(GuestSpec(), on="A")


def echo_p50_ms(lab, guest) -> float:
    verdict = lab.client("latency", guest.spec.address, "--requests", 40, "--pause", 0).wait()
    assert verdict["ok"], verdict
    return verdict["p50_ms"]


def test_accelerator_is_found_by_trial(lab, guest):
    assert pick_accel() in ("kvm", "tcg")
    assert "BOOT-OK" in guest.serial()


def test_guest_is_stock_qemu_on_host_a_only(lab, guest):
    assert lab.host("A").pids("qemu-system-x86_64") == [guest.process.pid]
    assert lab.host("B").pids() == []
    assert guest.status() == "running"


def test_hosts_are_machines_of_their_own(lab):
    for name in "AB":
        host = lab.host(name)
        assert host.run(["hostname"]).stdout.strip() == f"host{name}"
        host.write("/run/remus/mine", name)
        host.write("/etc/remus/mine", name)
    for name in "AB":
        assert lab.host(name).run(["cat", "/run/remus/mine", "/etc/remus/mine"]).stdout == name * 2
    assert not Path("/etc/remus/mine").exists() and not Path("/run/remus/mine").exists()


def test_session_is_intact_over_five_seconds(lab, guest):
    verdict = lab.stream(guest, "--duration", 5).wait()
    assert verdict["ok"], verdict["reasons"]
    assert verdict["records_in"] > 100 and verdict["records_out"] > 100
    assert verdict["unconfirmed"] == 0
    assert verdict["guest_uptime_ms"] > 0


def test_flooded_session_is_intact(lab, guest):
    verdict = lab.stream(guest, "--interval", 0, "--payload", 16384, "--duration", 2).wait()
    assert verdict["ok"], verdict["reasons"]
    assert verdict["bytes_in"] > 1 << 20 and verdict["bytes_out"] > 1 << 20


def test_a_broken_session_is_told(lab, guest):
    """A client that cannot see a break proves nothing: kill the server's process under an open session."""
    client = lab.stream(guest)
    guest.shell("kill -9 $(pidof stream-server)")
    verdict = client.wait(60)
    assert not verdict["ok"] and any("connection" in reason for reason in verdict["reasons"]), verdict
    guest.start("stream-server")


def test_delay_of_a_link_shows_in_round_trips(lab, guest):
    plain_ms = echo_p50_ms(lab, guest)
    lab.link("client").set(delay="60ms")
    slow_ms = echo_p50_ms(lab, guest)
    lab.link("client").clear()
    # 60 ms each way; a busy machine makes both slower, not the difference smaller.
    assert slow_ms >= 120 and slow_ms > 3 * plain_ms, (plain_ms, slow_ms)


def test_bandwidth_of_a_link_is_limited(lab, guest):
    lab.link("client").set(rate="16mbit")
    verdict = lab.stream(guest, "--interval", 0, "--payload", 8192, "--duration", 2).wait()
    lab.link("client").clear()
    assert verdict["ok"], verdict["reasons"]
    # 16 Mbit/s is 2 MB/s each way; one second of buffers is allowed for.
    assert verdict["bytes_in"] <= 2_000_000 * (verdict["seconds"] + 1), verdict


def test_lossy_link_costs_datagrams_but_no_stream_byte(lab, guest):
    lab.link("client").set(loss="5%")
    receiver = lab.client("udp", "receive", "--duration", 6)
    guest.start("udp-seq:send:10.77.0.100:7009:400")
    stream = lab.stream(guest, "--duration", 3).wait()
    datagrams = receiver.wait()
    guest.stop("udp-seq")
    lab.link("client").clear()
    assert stream["ok"], stream["reasons"]
    assert datagrams["lost"] > 0 and datagrams["received"] > datagrams["lost"], datagrams


def test_link_is_cut_and_restored(lab, guest):
    client = lab.stream(guest)
    lab.link("client").cut()
    eventually(lambda: client.stats["silent_ms"] > 1500, 20, what="silence on a cut link")
    lab.link("client").restore()
    eventually(lambda: client.stats["silent_ms"] < 100, 30, what="the session goes on")
    verdict = client.finish()
    assert verdict["ok"], verdict["reasons"]
    assert verdict["outage_ms"] > 1000


def test_only_the_named_link_is_cut(lab):
    def reaches(address: str) -> bool:
        ping = ["busybox", "ping", "-c", "1", "-W", "1", address]
        return lab.host("A").run(ping, check=False).returncode == 0

    b = lab.host("B").addresses
    assert reaches(b.lan) and reaches(b.repl)
    lab.link("repl").cut()
    assert reaches(b.lan) and not reaches(b.repl)
    lab.link("repl").restore()
    assert reaches(b.lan) and reaches(b.repl)


def test_workloads_run_and_stop(lab, guest):
    workloads = ["cpu-bench", "dirty:4:500:text", "kv-store:4:500", "text-work:64", "idle-work", "mixed-work"]
    counters = ["cpu", "dirty", "kv", "text", "idle"]
    guest.start(*workloads)
    first = [eventually(lambda name=name: guest.stat(name), 60, what=name) for name in counters]
    for name, before in zip(counters, first, strict=True):
        eventually(lambda name=name, before=before: guest.stat(name) > before, 60, what=f"{name} goes on")
    guest.stop(*[workload.partition(":")[0] for workload in workloads])
    names = "|".join(workload.partition(":")[0] for workload in workloads)
    eventually(
        lambda: not guest.shell(f"ps -o stat,comm | grep -v ^Z | grep -E '{names}'", check=False),
        20,
        what="workloads end",
    )


def test_killing_all_processes_lets_the_kernel_close_connections(lab):
    """kill_all is not a power cut: the peer hears of the end at once."""
    b = lab.host("B")
    b.spawn(["busybox", "nc", "-ll", "-p", "9", "-e", "sleep", "600"], name="listener")
    a = lab.host("A")

    connectors = []

    def connected():
        if not connectors or connectors[-1].poll() is not None:  # refused: the listener was not ready
            connectors.append(a.spawn(["busybox", "nc", b.addresses.repl, "9"], name="connector"))
        return b.pids("sleep")

    eventually(connected, 20, what="connection accepted")
    b.kill_all()
    assert b.is_up and b.pids() == []
    connectors[-1].wait(10)


def test_signal_reaches_only_processes_of_the_host(lab, guest):
    with pytest.raises(LabError, match="no process of host B"):
        lab.host("B").signal(guest.process.pid, signal.SIGKILL)
    assert guest.process.poll() is None


def test_power_cut_ends_a_host_and_nothing_else(lab, guest):
    """Every process of A dies; B's stays; what the client had open hears nothing, as from a machine without power."""
    a, b = lab.host("A"), lab.host("B")
    bystander = b.spawn(["sleep", "600"], name="bystander")
    daemonized = a.spawn(["sh", "-c", "(sleep 600 &) ; exec sleep 600"], name="daemonized")
    a.write("/etc/remus/kept", "disk")
    a.write("/run/remus/lost", "memory")
    client = lab.stream(guest, "--patience", 3)
    before = a.pids()
    assert len(before) >= 3 and daemonized.pid in before and guest.process.pid in before

    a.power_cut()

    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in before)
    assert b.pids() == [bystander.pid]
    verdict = client.wait()
    assert verdict["reasons"] and not any("closed" in r or "broke" in r for r in verdict["reasons"]), verdict
    assert verdict["lost"] == verdict["duplicated"] == verdict["changed"] == 0

    a.boot()
    assert a.pids() == []
    assert a.run(["cat", "/etc/remus/kept"]).stdout == "disk"
    assert a.run(["test", "-e", "/run/remus/lost"], check=False).returncode != 0
    again = lab.start_guest(guest.spec, on="A")
    assert lab.stream(again, "--duration", 1).wait()["ok"]
    bystander.stop()


def traces(name: str) -> list[str]:
    """What is left of a lab on this machine: namespaces, mounts, processes."""
    found = [
        line
        for line in subprocess.run(
            ["ip", "netns", "list"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if name in line
    ]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if name in words and int(pid) != os.getpid():
            found.append(f"{pid} {words}")
    return found


def test_nothing_is_left_after_down(machine):
    before = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    lab = Lab(f"t-trace-{os.getpid()}")
    lab.up()
    lab.host("B").spawn(["sleep", "600"])
    lab.link("repl").set(delay="1ms")
    pids = [pid for host in lab.hosts.values() for pid in host.pids()]
    assert traces(lab.name) and pids
    lab.down()
    assert traces(lab.name) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert lab.name not in [name for _, name, _ in all_labs()]
    assert (
        subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout == before
    )


def test_a_crashed_lab_is_cleared_away_by_the_next(machine):
    name = f"t-crash-{os.getpid()}"
    script = f"import os, signal\nfrom lab.qemu import Lab\nlab = Lab({name!r})\nlab.up()\nlab.host('A').spawn(['sleep', '600'])\nos.kill(os.getpid(), signal.SIGKILL)\n"
    crashed = subprocess.run(
        ["/usr/bin/python3", "-c", script], cwd=Path(__file__).parents[2], timeout=60, check=False
    )
    assert crashed.returncode == -signal.SIGKILL
    assert traces(name)
    assert name in clear_orphans()
    assert traces(name) == []


def test_two_labs_do_not_meet(machine):
    with Lab(f"t-one-{os.getpid()}") as one, Lab(f"t-two-{os.getpid()}") as two:
        one.link("repl").cut()
        ping = ["busybox", "ping", "-c", "1", "-W", "2", two.host("B").addresses.repl]
        assert two.host("A").run(ping, check=False).returncode == 0
        assert one.host("A").run(ping, check=False).returncode != 0
