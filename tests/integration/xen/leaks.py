"""What a host without guests has more, or less, than when it had booted: what somebody took and did not give back.

A domain whose memory is still mapped by somebody stays, without a name, until that one lets go of it, and its memory stays taken.
"""

from dataclasses import dataclass

from eventually import eventually

LSEVTCHN = "/usr/lib/xen-4.17/bin/lsevtchn"
FREE_MIB_SLACK = 1  # Xen tells whole MiB
PATIENCE_S = 180  # udev and libxl clear up after a guest at their leisure


@dataclass(frozen=True)
class Stock:
    """What a host without guests has."""

    xen_free_mib: int
    event_channels: int  # of the dom0


_at_first: dict[int, Stock] = {}  # by lab: its hosts are made alike, and boot alike


def look(host) -> Stock:
    free, channels = host.shell(f"xl info | sed -n 's/^free_memory *: //p'; {LSEVTCHN} 0 | wc -l").split()
    return Stock(int(free), int(channels))


def remember(lab) -> None:
    """To be called when a host of the lab has booted, and has had no guest since."""
    if id(lab) not in _at_first:
        _at_first[id(lab)] = look(lab.host("A"))


def leaks(lab, host) -> list[str]:
    """In words; a host that has guests is not asked."""
    at_first, now = _at_first[id(lab)], look(host)
    found = [line for line in host.shell("xl list | tail -n +3").splitlines() if line.strip()]
    found += [line for line in host.shell("tc qdisc show").splitlines() if " plug " in line or " ingress " in line or " clsact " in line]
    found += [name for line in host.shell("ip -o link").splitlines() if (name := line.split(":")[1].strip()).startswith(("rms", "vif"))]
    found += host.shell("ls -A /run/remus-xen 2> /dev/null || true").split()
    if now.xen_free_mib < at_first.xen_free_mib - FREE_MIB_SLACK:
        found.append(f"{at_first.xen_free_mib - now.xen_free_mib} MiB of Xen's memory")
    if now.event_channels > at_first.event_channels:
        found.append(f"{now.event_channels - at_first.event_channels} event channels")
    return found


def nothing_leaked(lab) -> None:
    """On every host that is up, now that all guests are gone."""
    for host in lab.hosts.values():
        if not host.is_up:
            continue
        last: list[str] = []

        def clean(host=host, last=last) -> bool:
            last[:] = leaks(lab, host)
            return not last

        try:
            eventually(clean, PATIENCE_S, what=f"nothing left on {host.name}", pause=2)
        except AssertionError as error:
            raise AssertionError(f"host {host.name} has left: {last}") from error
