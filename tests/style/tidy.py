"""Runs clang-tidy over the product and the simulator; a warning is a failure. Usage: tidy.py BUILD_DIR JOBS

BUILD_DIR decides what is read: the files one by one, or several at once where the build does so (unity files), which is
quicker as the libraries' headers are read once for all of them. The analyzer and other checks look at the main file
only, and would take what a unity file includes for headers. So its files are written one after the other into one file,
and findings are told with the place they come from. That both kinds are seen is proven first, with planted ones.

What was clean with this text, these headers and this configuration is not read again.
"""
import concurrent.futures
import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("src", "sim")
# The compile database may be written for g++: it has options that clang does not know.
COMMAND = ["clang-tidy-19", "-quiet", "--extra-arg=-Wno-unknown-warning-option"]

PLANTED = {
    "clang-analyzer-core.NullDereference":
        "int planted_path(int n);\nint planted_path(int n) { int* p = nullptr; return n > 3 ? *p : n; }\n",
    "bugprone-implicit-widening-of-multiplication-result":
        "unsigned long planted_match(int n);\nunsigned long planted_match(int n) { return n * 1024; }\n",
}


class Unit:
    """What clang-tidy reads at once: a source, or several in one file."""

    def __init__(self, sources, entry, folder):
        self.sources = sources
        self.path = Path(entry["file"])
        self.entry = entry
        if sources == [self.path]:
            return
        text, self.starts = "", []  # the first line of each source in the joined file
        for source in sources:
            self.starts.append((text.count("\n") + 1, source))
            text += source.read_text().rstrip("\n") + "\n"
        joined = folder / (hashlib.sha256(str(self.path).encode()).hexdigest()[:12] + ".cpp")
        joined.write_text(text)
        self.entry = {**entry, "file": str(joined), "command": entry["command"].replace(str(self.path), str(joined))}
        self.path = joined

    def told(self, text):
        """Findings with the places of the sources, not of the joined file."""
        def place(found):
            line = int(found[1])
            start, source = max(s for s in self.starts if s[0] <= line)
            return f"{source.relative_to(ROOT)}:{line - start + 1}:"
        if hasattr(self, "starts"):
            text = re.sub(re.escape(str(self.path)) + r":(\d+):", place, text)
        return text


def sources_of(path):
    if "/Unity/unity_" not in str(path):
        return [path]
    return [Path(name) for name in re.findall(r'^#include "(.+)"$', path.read_text(), re.M)]


def is_ours(path):
    return any(path.is_relative_to(ROOT / folder) for folder in OURS)


def tidy(folder, path):
    return subprocess.run(COMMAND + ["-p", str(folder), str(path)], capture_output=True, text=True)


def ours_only(text):
    """Findings in our files. What is told of a library's header is the analyzer lost in its coroutines."""
    parts = re.split(r"^(?=\S+:\d+:\d+: (?:error|warning): )", text, flags=re.M)
    return "".join(part for part in parts if part.strip() and not re.match(r"/usr/|/opt/", part))


def prove(folder):
    """A finding in the second source of a joined file must be told, at its place."""
    plant = folder / "planted"
    plant.mkdir(exist_ok=True)
    (plant / "first.cpp").write_text("int planted_first();\nint planted_first() { return 1; }\n")
    (plant / "second.cpp").write_text("".join(PLANTED.values()))
    sources = [plant / "first.cpp", plant / "second.cpp"]
    unity = str(plant / "unity.cxx")
    unit = Unit(sources, {"file": unity, "directory": str(plant), "command": f"c++ -std=c++23 -c {unity}"}, plant)
    (plant / "compile_commands.json").write_text(json.dumps([unit.entry]))
    done = tidy(plant, unit.path)
    text = unit.told(done.stdout)
    missing = [check for check in PLANTED if not re.search(r"second\.cpp:[24]:\d+: error: .*" + re.escape(check), text)]
    if missing or done.returncode == 0:
        sys.exit(f"clang-tidy does not tell what was planted: {', '.join(missing)}\n{text}{done.stderr}")


def main():
    build, jobs = ROOT / sys.argv[1], int(sys.argv[2])
    folder = build / "tidy"
    (folder / "clean").mkdir(parents=True, exist_ok=True)
    prove(folder)

    common = hashlib.sha256((ROOT / ".clang-tidy").read_bytes() + " ".join(COMMAND).encode())
    for header in sorted(path for room in OURS for path in (ROOT / room).rglob("*.hpp")):
        common.update(header.read_bytes())

    entries = {e["file"]: e for e in json.loads((build / "compile_commands.json").read_text())}
    units = []
    for name, entry in sorted(entries.items()):
        sources = sources_of(Path(name))
        if sources and all(is_ours(source) for source in sources):
            units.append(Unit(sources, entry, folder))
    (folder / "compile_commands.json").write_text(json.dumps([unit.entry for unit in units]))

    # A file in no unit is one that nobody checks.
    read = {source for unit in units for source in unit.sources}
    forgotten = [path for room in OURS for path in sorted((ROOT / room).rglob("*.cpp")) if path not in read]
    for path in forgotten:
        print(f"{path.relative_to(ROOT)}: not in {build.name}/compile_commands.json")

    def check(unit):
        key = common.copy()
        for source in unit.sources:
            key.update(source.read_bytes())
        mark = folder / "clean" / key.hexdigest()
        began = time.monotonic()
        if mark.exists():
            return unit, True, "", 0.0
        done = tidy(folder, unit.path)
        findings = ours_only(unit.told(done.stdout))
        # Told nothing at all and failed: it could not read the unit, and stderr says why.
        clean = not findings and (done.returncode == 0 or done.stdout.strip() != "")
        if clean:
            mark.touch()
        return unit, clean, findings or done.stderr, time.monotonic() - began

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for unit, clean, text, seconds in pool.map(check, units):
            names = " ".join(str(source.relative_to(ROOT)) for source in unit.sources)
            print(f"{'clean' if clean else 'FINDINGS'} {seconds:4.0f} s  {names}", flush=True)
            if not clean:
                failed += 1
                print(text, flush=True)
    print(f"clang-tidy: {len(read)} files in {len(units)} units, {failed} with findings")
    return 1 if failed or forgotten or not units else 0


if __name__ == "__main__":
    sys.exit(main())
