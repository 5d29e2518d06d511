"""Figures of guards and client as lines for a person. No I/O: dictionaries in, text out."""

from lab.demo.screen import Screen

UNITS = ["B", "KiB", "MiB", "GiB", "TiB"]
PULSE_COLUMNS = 50
SILENT_MS = 100  # more than this without a record is worth showing as a gap
BLOCKS = "▁▂▃▄▅▆▇█"


def or_dash(part: dict, key: str):
    """A number this side may not know."""
    value = part.get(key)
    return '-' if value is None else value


def size(count: float | None) -> str:
    if count is None:
        return "-"
    for unit in UNITS:
        if count < 1024 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return "-"


def number(value: float | None, unit: str, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f} {unit}"


def milli(us: float | None) -> str:
    return number(None if us is None else us / 1000, "ms", 1)


def state(screen: Screen, text: str) -> str:
    """A state in its colour."""
    if text in ("protected", "active"):
        return screen.good(text)
    return screen.bad(text) if text in ("DEAD", "failed") else screen.warn(text)


def guard_lines(screen: Screen, status: dict) -> list[str]:
    """What `remus status` knows of a protected guest."""
    guard = status.get("guard") or {}
    epoch, pause, traffic, output = (guard.get(key) or {} for key in ("epoch", "pause", "traffic", "output"))
    label = screen.dim
    ratio = traffic.get("ratio")
    held = f"{or_dash(output, 'held_packets')} packets, {size(output.get('held_bytes'))}"
    return [
        f"{label('state        ')} {state(screen, status.get('state', '?'))}, generation {guard.get('generation', '-')}",
        f"{label('epoch        ')} {or_dash(epoch, 'committed')} committed, "
        f"{number(epoch.get('checkpoints_per_s'), 'checkpoints/s', 1)}, "
        f"last commit {_age(epoch.get('age_of_last_commit_ms'))}",
        f"{label('guest pause  ')} p50 {milli(pause.get('p50_us'))}, p99 {milli(pause.get('p99_us'))}, "
        f"overhead {_percent(pause.get('overhead'))} of the time",
        f"{label('dirty pages  ')} {or_dash(traffic, 'dirty_pages_last')} in the last epoch, "
        f"{number(traffic.get('dirty_pages_avg'), 'on average')}",
        f"{label('traffic      ')} {size(traffic.get('raw_bytes'))} dirty, {size(traffic.get('wire_bytes'))} sent "
        f"({_percent(ratio)})",
        f"{label('output held  ')} {held}; {or_dash(output, 'released_packets')} packets released",
    ]


def _age(age_ms: float | None) -> str:
    return "-" if age_ms is None else f"{age_ms:.0f} ms ago"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{part * 100:.1f} %"


def guard_short(status: dict) -> str:
    guard = status.get("guard") or {}
    epoch, pause, traffic, output = (guard.get(key) or {} for key in ("epoch", "pause", "traffic", "output"))
    return (
        f"{status.get('state', '?')}: epoch {or_dash(epoch, 'committed')}, "
        f"{number(epoch.get('checkpoints_per_s'), 'checkpoints/s')}, commit {_age(epoch.get('age_of_last_commit_ms'))}, "
        f"pause p50 {milli(pause.get('p50_us'))} p99 {milli(pause.get('p99_us'))}, "
        f"overhead {_percent(pause.get('overhead'))}, {or_dash(traffic, 'dirty_pages_last')} dirty pages, "
        f"{size(traffic.get('raw_bytes'))} -> {size(traffic.get('wire_bytes'))}, held {size(output.get('held_bytes'))}"
    )


def client_lines(screen: Screen, history: list[dict]) -> list[str]:
    """The client's session: figures, and a pulse of the records that come in."""
    stats = history[-1] if history else {}
    label, silent = screen.dim, stats.get("silent_ms", 0.0)
    quiet = f"silent for {silent:.0f} ms"
    faults = "; ".join(stats.get("faults", []))
    return [
        f"{label('session      ')} {stats.get('records_in', 0)} in, {stats.get('records_out', 0)} out, "
        f"{screen.bad(faults) if faults else screen.good('none lost, duplicated or changed')}",
        f"{label('round trip   ')} p50 {number(stats.get('rtt_p50_ms'), 'ms', 1)}, "
        f"p99 {number(stats.get('rtt_p99_ms'), 'ms', 1)}, {screen.bad(quiet) if silent > SILENT_MS else quiet}",
        f"{label('records in   ')} {pulse(screen, history)}",
    ]


def client_short(stats: dict) -> str:
    return (
        f"client: {stats.get('records_in', 0)} records in, {stats.get('records_out', 0)} out, "
        f"round trip p50 {number(stats.get('rtt_p50_ms'), 'ms', 1)} p99 {number(stats.get('rtt_p99_ms'), 'ms', 1)}, "
        f"silent {number(stats.get('silent_ms'), 'ms')}, faults {len(stats.get('faults', []))}"
    )


def pulse(screen: Screen, history: list[dict]) -> str:
    """A column for each of the client's last reports, as high as records came in; nothing came: a red gap."""
    recent = history[-PULSE_COLUMNS - 1 :]
    counts = [after["records_in"] - before["records_in"] for before, after in zip(recent, recent[1:], strict=False)]
    highest = max(20, *counts) if counts else 1
    drawn = []
    for count in counts:
        if count == 0:
            drawn.append(screen.bad("×" if screen.fancy else "x"))
        elif screen.fancy:
            drawn.append(screen.good(BLOCKS[min(7, count * 8 // (highest + 1))]))
        else:
            drawn.append("|")
    return "".join(drawn)
