"""Guests whose network is Open vSwitch: their output is held as on any bridge, and stays held whatever the switch does with its ports."""

import openvswitch
import pytest
from eventually import eventually
from protected import LOOK_S, PATIENCE_S, Protected, intact

from lab.xen import GuestSpec

pytestmark = [pytest.mark.xen, pytest.mark.long_form]


@pytest.fixture
def switched(hosts):
    """Both hosts' LAN is Open vSwitch's for as long as the test lasts."""
    for host in hosts.hosts.values():
        openvswitch.start(host)
    yield hosts
    for host in hosts.hosts.values():
        if host.is_up:
            for guest in host.domains():
                host.xl("destroy", guest, check=False)
            eventually(lambda host=host: not host.domains(), PATIENCE_S, what=f"no domain on {host.name}", pause=LOOK_S)
            openvswitch.stop(host)


def held(it: Protected) -> bool:
    """Whether what the guest sends is led to our interface."""
    host = it.lab.host(it.primary)
    number = it.guest.domain_id(host)
    return f"rms{number}.0" in host.shell(f"tc filter show dev vif{number}.0 ingress")


def test_a_guest_on_open_vswitch_goes_on_when_its_host_dies(switched):
    """Its switch is restarted while it is protected, which takes the ingress filter off every port: it is put back."""
    a, b = switched.host("A"), switched.host("B")
    it = Protected(switched, GuestSpec(memory_mib=128, network=openvswitch.FOR_VIFS))
    assert f"vif{it.guest.domain_id()}.0" in openvswitch.ports(a)
    client = it.session()
    it.protect()
    it.wait_for_commits()
    assert held(it)
    openvswitch.restart_switch(a)
    said = lambda: "took the ingress filter" in a.path("/run/host/web1.primary.log").read_text(errors="replace")  # noqa: E731
    eventually(said, PATIENCE_S, what="the guard has noticed", pause=LOOK_S)
    assert held(it)
    it.moves(client)
    it.wait_for_commits()
    a.power_cut()
    print(it.wait_active())
    it.moves(client)
    verdict = intact(client)
    print(f"{verdict['records_in']} records to the client, {verdict['records_out']} to the guest, outage {verdict['outage_ms']} ms")
    assert f"vif{it.guest.domain_id(b)}.0" in openvswitch.ports(b)
