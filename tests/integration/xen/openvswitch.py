"""Open vSwitch on a lab host: a bridge with the host's network card as a port, as an administrator would have it."""

from lab.common.network import PREFIX_BITS

BRIDGE = "ovsbr0"
FOR_VIFS = f"bridge={BRIDGE},script=vif-openvswitch"
VSWITCHD = "/usr/lib/openvswitch-switch/ovs-vswitchd"
RUN = "/var/run/openvswitch"  # where its programs look for each other
_START_VSWITCHD = f"{VSWITCHD} unix:{RUN}/db.sock --detach --no-chdir --pidfile={RUN}/ovs-vswitchd.pid --log-file=/run/host/ovs-vswitchd.log"


def start(host) -> None:
    """Starts it, and moves the host's LAN from its own bridge to one of Open vSwitch's."""
    host.shell(f"""
set -e
modprobe openvswitch
mkdir -p {RUN}
rm -f {RUN}/conf.db
ovsdb-tool create {RUN}/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server {RUN}/conf.db --remote=punix:{RUN}/db.sock --detach --no-chdir --pidfile={RUN}/ovsdb-server.pid
ovs-vsctl --no-wait init
{_START_VSWITCHD}
ip link set eth0 nomaster
ovs-vsctl add-br {BRIDGE} -- add-port {BRIDGE} eth0
ip addr flush dev xenbr0
ip addr add {host.addresses.lan}/{PREFIX_BITS} dev {BRIDGE}
ip link set {BRIDGE} up
""", timeout=180)  # fmt: skip


def restart_switch(host) -> None:
    """As an upgrade of it would. The kernel's part goes on meanwhile."""
    host.shell(f"set -e; kill $(cat {RUN}/ovs-vswitchd.pid); while pidof ovs-vswitchd > /dev/null; do sleep .1; done; {_START_VSWITCHD}", timeout=180)


def ports(host) -> list[str]:
    return host.shell(f"ovs-vsctl list-ports {BRIDGE}").split()


def stop(host) -> None:
    """Gives the LAN back to the host's own bridge, and ends it."""
    host.shell(f"""
ovs-vsctl --if-exists del-br {BRIDGE}
kill $(cat {RUN}/ovs-vswitchd.pid {RUN}/ovsdb-server.pid)
ip link set eth0 master xenbr0
ip addr add {host.addresses.lan}/{PREFIX_BITS} dev xenbr0
while pidof ovs-vswitchd ovsdb-server > /dev/null; do sleep .1; done
""", timeout=180)  # fmt: skip
