"""The Xen lab's network: lab/common's, with emulated machines at the ends of the cables.

              ┌──────────── LAN 10.77.0.0/24 (bridge) ────────────┐
           [lanA]               [client]                       [lanB]
    ┌────────┴─────────┐    ┌─────┴─────┐            ┌───────────┴───────┐
    │ lan  bridge, tap │    │ client    │            │ lan  bridge, tap  │   namespaces of this machine
    │ repl bridge, tap ├─────────[repl] 10.78.0.0/24 ┤ repl bridge, tap  │
    │ mgmt tap .254    │    └───────────┘            │ mgmt tap .254     │   10.79.0.0/24, to the own host only
    ╞══════════════════╡                             ╞═══════════════════╡
    │ A xenbr0 .11 vifs│                             │ B xenbr0 .12 vifs │   dom0s of the emulated machines
    │   repl0 .1       │                             │   repl0 .2        │
    │   mgmt0 .1       │                             │   mgmt0 .1        │
    └──────────────────┘                             └───────────────────┘

The lab drives a host over mgmt, which no cut link and no bad condition touches.
"""

from lab.common.network import PREFIX_BITS, Network

MGMT_HOST = "10.79.0.1"
MGMT_LAB = "10.79.0.254"
TAPS = ("lan", "repl", "mgmt")


class XenNetwork(Network):
    """Namespaces, links and taps of one Xen lab."""

    def _attach(self, host: str) -> None:
        bridge = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        commands = [f"tuntap add dev tap-{name} mode tap" for name in TAPS]
        commands += [f"link set tap-{name} up" for name in TAPS]
        for name in ("lan", "repl"):
            commands += [f"link add name br-{name} {bridge}", f"link set br-{name} up"]
            commands += [f"link set {name}0 master br-{name}", f"link set tap-{name} master br-{name}"]
        commands.append(f"addr add {MGMT_LAB}/{PREFIX_BITS} dev tap-mgmt")
        self.hosts[host].ip(*commands)
