"""Bytes on the wire against raw dirty bytes, for four guest workloads; as peers, whole pages packed by zstd or by lz4.

The peers are this product with its deltas taken away (no cache of page contents), so that nothing else differs.
"""

import time

from bench.suite.figures import median
from bench.suite.result import Result, Target
from bench.suite.stand import PATIENT, Stand, stand

WORKLOADS = {
    "idle-work": "idle-work",
    "kv-store": "kv-store:32:8000",
    "text-work": "text-work",
    "mixed-work": "mixed-work",
}
CODECS = {
    "deltas, auto": {},
    "pages, zstd": {"compression": "zstd", "delta_cache": "0"},
    "pages, lz4": {"compression": "lz4", "delta_cache": "0"},
}
LIMIT_PERCENT = 35


def _window(stand_: Stand, seconds: float) -> dict:
    before, link = stand_.status()["traffic"], stand_.link_bytes()
    time.sleep(seconds)
    after = stand_.status()["traffic"]
    return {
        "raw_bytes": after["raw_bytes"] - before["raw_bytes"],
        "wire_bytes": after["wire_bytes"] - before["wire_bytes"],
        "link_bytes": stand_.link_bytes() - link,
    }


def measure(quick: bool) -> Result:
    seconds, windows = (2.0, 1) if quick else (2.0, 3)
    codecs = dict(list(CODECS.items())[:2]) if quick else CODECS
    samples: dict[str, dict[str, list]] = {name: {} for name in WORKLOADS}
    with stand("wire") as stand_:
        for codec, options in codecs.items():
            stand_.protect(**PATIENT, **options)
            for name, program in WORKLOADS.items():
                with stand_.load(program, settle_s=2.0):
                    samples[name][codec] = [
                        stand_.steady(lambda: _window(stand_, seconds)) for _ in range(windows)
                    ]
            stand_.unprotect()
    rows = []
    for name, by_codec in samples.items():
        for codec, found in by_codec.items():
            raw = median([w["raw_bytes"] for w in found]) / seconds / (1 << 20)
            link = median([100 * w["link_bytes"] / w["raw_bytes"] for w in found])
            rows.append([name, codec, raw, _percent(found), link])
    mixed = _percent(samples["mixed-work"]["deltas, auto"])
    return Result(
        name="wire",
        title="Bytes on the wire against raw dirty bytes",
        columns=["workload", "codec", "raw dirty MiB/s", "wire % of raw", "with TLS, TCP, heartbeats %"],
        rows=rows,
        samples=samples,
        plot=lambda axes: _plot(axes, samples, list(codecs)),
        targets=[Target("wire bytes on mixed-work", f"≤ {LIMIT_PERCENT} %", f"{mixed:.1f} %", mixed <= LIMIT_PERCENT)],
        notes=stand_.losses_note(),
    )


def _percent(found: list[dict]) -> float:
    return median([100 * w["wire_bytes"] / w["raw_bytes"] for w in found])


def _plot(axes, samples: dict, codecs: list[str]) -> None:
    width = 0.8 / len(codecs)
    for index, codec in enumerate(codecs):
        places = [i + index * width for i in range(len(samples))]
        axes.bar(places, [_percent(by_codec[codec]) for by_codec in samples.values()], width, label=codec)
    axes.axhline(LIMIT_PERCENT, color="tab:red", linestyle="--", linewidth=1, label=f"{LIMIT_PERCENT} %: target for mixed-work")
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(samples))], list(samples))
    axes.set(ylabel="bytes sent, % of raw dirty bytes")
    axes.legend(fontsize=8)
