"""What becomes of an HVM guest whose device model (QEMU) dies: it can never go on where it is, so it goes on at the backup."""

import signal
import time

import pytest
from eventually import eventually
from protected import LOOK_S, OPTIONS, PATIENCE_S, Protected, intact, traces

pytestmark = [pytest.mark.xen, pytest.mark.long_form]


def model(it: Protected) -> int:
    host = it.lab.host(it.primary)
    number = it.guest.domain_id(host)
    return int(host.run(["xenstore-read", f"/local/domain/{number}/image/device-model-pid"]).stdout)


def events(it: Protected, host: str) -> list[str]:
    return it.lab.remus(host, "events", it.name).stdout.splitlines()


def went_on(it: Protected, client) -> None:
    """It runs at the backup and nowhere else, with its session; nothing is left where it was."""
    found = eventually(
        lambda: (g := it.guard(it.backup)).get("state") == "active" and g, PATIENCE_S, what="active", pause=LOOK_S
    )
    print(f"{it.guest.spec.kind}: {found['failover']}, longest outage {client.stats['outage_ms']} ms")
    it.moves(client)
    intact(client)
    assert set(it.lab.host(it.backup).domains()) == {it.name}
    host = it.lab.host(it.primary)
    eventually(lambda: it.name not in host.domains(), PATIENCE_S, what="libxl has cleared up", pause=LOOK_S)
    eventually(lambda: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}")


@pytest.mark.parametrize("kind", ["hvm-nopv", "hvm"])
def test_a_guest_goes_on_elsewhere_when_its_device_model_dies(hosts, kind):
    it = Protected(hosts, kind)
    client = it.session()
    it.protect()
    it.wait_for_commits()
    it.moves(client)
    hosts.host("A").signal(model(it), signal.SIGKILL)
    went_on(it, client)
    assert any("device model" in text for text in events(it, "A")), events(it, "A")


def test_under_the_manual_arbiter_an_operator_lets_it_go_on(hosts):
    """Its host stops it, so that nobody need force the failover; nothing runs before somebody asks for it."""
    it = Protected(hosts, "hvm-nopv", ["--arbiter", "manual", *OPTIONS])
    client = it.session()
    it.protect()
    it.wait_for_commits()
    hosts.host("A").signal(model(it), signal.SIGKILL)
    eventually(lambda: it.name not in hosts.host("A").domains(), PATIENCE_S, what="it is stopped", pause=LOOK_S)
    time.sleep(15)  # many times what it takes to claim
    assert it.guard("B")["state"] == "suspecting"
    assert it.name not in hosts.host("B").domains(), "activated against the manual arbiter"
    hosts.remus("B", "failover", it.name, "--yes", timeout=PATIENCE_S)
    went_on(it, client)


def test_a_guest_without_a_backup_is_left_alone_when_its_device_model_dies(hosts):
    """It is not destroyed: nobody else has it. What is wrong is told, and taking its protection off works."""
    it = Protected(hosts, "hvm-nopv")
    it.protect()
    hosts.host("B").power_cut()
    eventually(lambda: it.guard("A").get("state") == "alone", PATIENCE_S, what="it runs alone", pause=LOOK_S)
    hosts.host("A").signal(model(it), signal.SIGKILL)
    told = lambda: [text for text in events(it, "A") if "device model" in text]  # noqa: E731
    eventually(told, PATIENCE_S, what="it is told", pause=LOOK_S)
    print(told())
    assert "device model" in it.guard("A")["last_error"]["what"]
    hosts.host("B").boot()
    hosts.start_remus("B")
    time.sleep(15)
    assert it.name in hosts.host("A").domains()
    assert not it.status("A")["protected"]
    hosts.remus("A", "unprotect", it.name, timeout=PATIENCE_S)
    refused = hosts.remus("A", "protect", it.name, "--to", "hostB", *it.options, check=False, timeout=PATIENCE_S)
    assert refused.returncode != 0 and "device model" in refused.stderr, refused
    assert it.name in hosts.host("A").domains()


def test_a_device_model_stopped_for_five_seconds_harms_nobody(hosts):
    it = Protected(hosts, "hvm-nopv")
    client = it.session()
    it.protect()
    it.wait_for_commits()
    host, pid = hosts.host("A"), model(it)
    host.signal(pid, signal.SIGSTOP)
    time.sleep(5)
    host.signal(pid, signal.SIGCONT)
    it.moves(client)
    it.wait_protected()
    it.wait_for_commits()
    it.moves(client)
    intact(client)
    assert set(host.domains()) == {it.name}
