"""All tests, stage by stage; each stage counts what passed, failed and was skipped, and why.

The last line is 'N passed, N failed, N skipped'. Exit status 0 only if nothing failed.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS = str(os.cpu_count() or 2)


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)  # of what was skipped; one may stand for many
    faults: list[str] = field(default_factory=list)  # what failed, and the last it said: for the end of a long output
    note: str = ""


def run(command, env=None, capture=False):
    """Runs a command from the root; its output is shown, and returned if asked for."""
    print("$ " + " ".join(str(c) for c in command), flush=True)
    full_env = {**os.environ, **(env or {})}
    if not capture:
        return subprocess.run(command, cwd=ROOT, env=full_env).returncode, ""
    process = subprocess.Popen(command, cwd=ROOT, env=full_env, text=True, errors="replace",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        lines.append(line)
    return process.wait(), "".join(lines)


def build(preset, targets=()):
    if run(["cmake", "--preset", preset, "-Wno-dev", "--log-level=WARNING"])[0] != 0:
        return False
    command = ["cmake", "--build", "--preset", preset, "-j", JOBS]
    for target in targets:
        command += ["--target", target]
    return run(command)[0] == 0


class BuildAhead:
    """Builds what later stages need while the labs mostly wait: only with what time of the processors nobody else wants, and only
    where there is memory for both."""

    LOG = ROOT / "build/ahead.log"
    MEMORY_MIB_MIN = 12 << 10  # two Xen hosts, and a compiler on each processor
    BUILDS = {"asan": ("unit_tests", "fuzzers"), "tsan": ("unit_tests",)}

    def __init__(self):
        self.process = None

    def begin(self):
        available = re.search(r"^MemAvailable: *([0-9]+)", Path("/proc/meminfo").read_text(), re.M)
        if available and int(available[1]) >> 10 < self.MEMORY_MIB_MIN:
            return
        # Where the kernel shares the processors by session first (autogroup), idle time is that of a session as well.
        script = "{ echo 19 > /proc/self/autogroup; } 2> /dev/null; " + " && ".join(
            f"cmake --preset {preset} -Wno-dev --log-level=WARNING && cmake --build --preset {preset} -j {JOBS} --target {' '.join(targets)}"
            for preset, targets in self.BUILDS.items())
        with self.LOG.open("w") as log:
            self.process = subprocess.Popen(["chrt", "--idle", "0", "sh", "-c", script], cwd=ROOT, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)
        print(f"meanwhile the sanitizers' builds are made, in idle time: {self.LOG.relative_to(ROOT)}", flush=True)

    def end(self):
        """Stops it: ninja goes on where it was, with all of the time and with its words on the terminal."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()
            self._wait_for_group()
        self.process = None

    def _wait_for_group(self):
        """ninja still removes what it has not finished; the next one must not find it at that."""
        for _ in range(100):
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


ahead = BuildAhead()


def cases_in(results):
    """The tests in GoogleTest's result files, each with the name of its program."""
    for file in sorted(results.glob("*.xml")):
        for case in xml.etree.ElementTree.parse(file).iter("testcase"):
            yield file.stem, case


def skipped_in(results):
    """Tests that skipped themselves, as GoogleTest's result files tell: how many, and each reason once."""
    counts = collections.Counter()
    for program, case in cases_in(results):
        if (skip := case.find("skipped")) is not None:
            reason = skip.get("message", "").partition("\n")[2] or "(no reason given)"
            counts[f"{program}: {reason}"] += 1
    return counts.total(), [f"SKIPPED [{count}] {reason}" for reason, count in sorted(counts.items())]


def failures_in(results):
    """The tests that failed, each with the first line of what it said."""
    return [f"{program}: {case.get('classname')}.{case.get('name')}: {(fault.get('message') or '').partition(chr(10))[0]}"
            for program, case in cases_in(results) for fault in case.findall("failure")[:1]]


def shortened_in(results):
    """What tests say that they did not do in full in this build ('disk: 10 instead of 60 lives'), each once."""
    said = {f"{program.removeprefix('test_')}: {word.get('value')}"
            for program, case in cases_in(results) for word in case.iter("property") if word.get("name") == "shortened"}
    return ", ".join(sorted(said))


def ctest(preset, env=None):
    command = ["ctest", "--preset", preset, "-j", JOBS, "-L", "unit|sim"]
    # A program of many tests passes when some of them skip themselves: those are counted from what it writes.
    results = ROOT / "build" / preset / "results"
    shutil.rmtree(results, ignore_errors=True)
    status, text = run(command, capture=True, env={"GTEST_OUTPUT": f"xml:{results}/", **(env or {})})
    found = re.search(r"(\d+) tests failed out of (\d+)", text)
    if not found:
        return Outcome(failed=1, note="ctest ran nothing")
    failed, total = int(found[1]), int(found[2])
    skipped, reasons = skipped_in(results)
    return Outcome(passed=total - failed, failed=failed or (1 if status else 0), skipped=skipped, reasons=reasons,
                   faults=failures_in(results), note=shortened_in(results))


def stage_style(_):
    status, _text = run(["/usr/bin/python3", "tests/style/check.py"])
    return Outcome(passed=int(status == 0), failed=int(status != 0))


def stage_unit(_):
    return ctest("test") if build("test") else Outcome(failed=1, note="build failed")


def stage_simulator(options):
    seeds = "5000000" if options.soak else "200000"
    status, _text = run(["build/test/sim/remus-sim", "--seeds", seeds, "--jobs", JOBS])
    return Outcome(passed=int(status == 0), failed=int(status != 0), note=f"{seeds} seeds")


# What each sanitizer's build is told at run time. Reports go to files, so that one of a process which a test has started
# (a guard, a fork) counts as well, whatever the test makes of its exit code.
SANITIZERS = {
    "asan": {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:log_path={reports}",
             "UBSAN_OPTIONS": "print_stacktrace=1:log_path={reports}"},
    "tsan": {"TSAN_OPTIONS": "second_deadlock_stack=1:log_path={reports}"},
}


# Debian's clang comes without its symbolizer; binutils' is always there.
SYMBOLIZER = shutil.which("llvm-symbolizer-19") or shutil.which("addr2line")


def stage_sanitizers(_):
    ahead.end()
    total = Outcome()
    for preset, variables in SANITIZERS.items():
        if not build(preset, ["unit_tests"]):
            total.failed += 1
            total.note += f" {preset}: build failed"
            continue
        reports = ROOT / "build" / preset / "reports"
        shutil.rmtree(reports, ignore_errors=True)
        reports.mkdir()
        part = ctest(preset, {
            name: f"{value.format(reports=reports / preset)}:external_symbolizer_path={SYMBOLIZER}"
            for name, value in variables.items()})
        total.passed += part.passed
        total.failed += part.failed
        total.skipped += part.skipped
        total.reasons += [f"{preset}: {reason}" for reason in part.reasons]
        total.faults += [f"{preset}: {fault}" for fault in part.faults]
        for report in sorted(reports.iterdir()):
            print(f"--- {report.relative_to(ROOT)}\n{report.read_text(errors='replace')}")
            total.failed += 1
            total.faults.append(f"{preset}: a report, {report.relative_to(ROOT)}")
        total.note += f" {preset}: {part.passed} passed" if part.passed else f" {preset}:"
        total.note += f" ({part.note})" if part.note else ""
    return total


def stage_i386(options):
    """The same unit tests and simulator as 32-bit programs, and a guest protected by a 64-bit host to a 32-bit one and back."""
    made = subprocess.run(["/usr/bin/python3", "tests/i386/sysroot.py"], cwd=ROOT, text=True, capture_output=True, check=False)
    if made.returncode != 0:
        why = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Outcome(skipped=1, reasons=[f"SKIPPED [1] Debian's i386 packages cannot be had: {why}"])
    os.environ["REMUS_I386_ROOT"] = made.stdout.strip()
    if not build("i386", ["unit_tests", "remus", "remusd", "remus-guard"]):
        return Outcome(failed=1, note="build failed")
    total = ctest("i386")
    hosts = pytest(options, "tests/integration/test_word_sizes.py")
    total.passed += hosts.passed
    total.failed += hosts.failed
    total.skipped += hosts.skipped
    total.reasons += hosts.reasons
    total.faults += hosts.faults
    return total


FUZZ_NOISE = re.compile(r"###### Recommended dictionary.*?###### End of recommended dictionary. ######\n|^\s*NEW_FUNC.*?\n", re.S | re.M)


def fuzz_one(target, runs):
    """Runs one fuzzer; returns what it said if it failed."""
    work = ROOT / "build/asan/corpus" / target.name
    work.mkdir(parents=True, exist_ok=True)
    command = [str(target), f"-runs={runs}", "-seed=1", "-verbosity=0", "-print_final_stats=0", "-timeout=20",
               f"-artifact_prefix={work}-", str(work)]
    seeds = ROOT / "tests/fuzz/corpus" / target.name.removeprefix("fuzz_")
    if seeds.is_dir():
        command.append(str(seeds))
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = time.monotonic() - began
    if done.returncode == 0:
        print(f"{target.name}: passed in {seconds:.0f} s", flush=True)
        return None
    print(f"{target.name}: FAILED in {seconds:.0f} s, exit code {done.returncode}", flush=True)
    return f"{target.name}: exit code {done.returncode}\n{FUZZ_NOISE.sub('', done.stdout)}"


def stage_fuzz(options):
    if not build("asan", ["fuzzers"]):
        return Outcome(failed=1, note="build failed")
    runs = 20_000_000 if options.soak else 200_000
    targets = [t for t in sorted((ROOT / "build/asan/tests/fuzz").glob("*/fuzz_*")) if t.is_file() and os.access(t, os.X_OK)]
    if not targets:
        return Outcome(failed=1, note="no fuzz targets were built")
    with concurrent.futures.ThreadPoolExecutor(int(JOBS)) as pool:
        faults = [said for said in pool.map(lambda target: fuzz_one(target, runs), targets) if said is not None]
    return Outcome(passed=len(targets) - len(faults), failed=len(faults), faults=faults, note=f"{runs} executions each")


def stage_tidy(options):
    # As it is built, several files at a time; the long form also file by file, where each must include what it uses.
    folders = ["build/test"] + (["build/files"] if options.soak else [])
    if run(["cmake", "--preset", "test", "-Wno-dev", "--log-level=WARNING"])[0] != 0:
        return Outcome(failed=1, note="configuration failed")
    if options.soak and run(["cmake", "--preset", "test", "-B", "build/files", "-DCMAKE_UNITY_BUILD=OFF", "-Wno-dev",
                             "--log-level=WARNING"])[0] != 0:
        return Outcome(failed=1, note="configuration failed")
    good = [run(["/usr/bin/python3", "tests/style/tidy.py", folder, JOBS])[0] == 0 for folder in folders]
    return Outcome(passed=sum(good), failed=len(good) - sum(good))


def stage_integration(options):
    if not build("test"):
        return Outcome(failed=1, note="build failed")
    if not options.stages or "sanitizers" in options.stages:
        ahead.begin()
    return pytest(options, "tests/integration")


def pytest(options, folder):
    command = ["/usr/bin/python3", "-m", "pytest", "-rsfE", "-v", "--durations=40", "-p", "no:cacheprovider", folder]
    if options.soak:
        command.append("--soak")
    if options.keyword:
        command += ["-k", options.keyword]
    status, text = run(command, capture=True, env={"PYTHONDONTWRITEBYTECODE": "1"})
    outcome = Outcome()
    tail = text.strip().splitlines()[-1] if text.strip() else ""
    for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", tail):
        if word == "passed":
            outcome.passed = int(number)
        elif word == "skipped":
            outcome.skipped = int(number)
            outcome.reasons = re.findall(r"^SKIPPED .*$", text, re.M) or ["(no reason printed)"]
        else:
            outcome.failed += int(number)
    if status not in (0, 1) or (status == 1 and outcome.failed == 0):
        outcome.failed += 1
    outcome.faults = re.findall(r"^(?:FAILED|ERROR) .*$", text, re.M)
    return outcome


# In this order: what fails soonest first; integration needs only what `unit` has built, fuzz what `sanitizers` has.
STAGES = {
    "style": stage_style,
    "unit": stage_unit,
    "simulator": stage_simulator,
    "integration": stage_integration,
    "sanitizers": stage_sanitizers,
    "fuzz": stage_fuzz,
    "i386": stage_i386,
    "tidy": stage_tidy,
}
ON_REQUEST = {"i386", "tidy"}  # take longer than all others together: name them, or --soak


def main():
    parser = argparse.ArgumentParser(
        prog="./test", description="Runs Remus' tests.",
        epilog="examples: ./test            everything (CI does this)\n"
               "          ./test unit       one stage\n"
               "          ./test --soak     the long form: 100 kills, millions of seeds\n"
               "          ./test integration -k failover",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="of: " + ", ".join(STAGES))
    parser.add_argument("--soak", action="store_true", help="long form of simulator, integration, fuzz and tidy")
    parser.add_argument("--list", action="store_true", help="list the stages")
    parser.add_argument("-k", dest="keyword", help="only integration tests that match")
    options = parser.parse_args()
    if options.list:
        print("\n".join(STAGES))
        return 0
    unknown = [s for s in options.stages if s not in STAGES]
    if unknown:
        parser.error(f"no such stage: {', '.join(unknown)} (there are: {', '.join(STAGES)})")

    results = {}
    usual = [name for name in STAGES if options.soak or name not in ON_REQUEST]
    try:
        for name in options.stages or usual:
            print(f"\n=== {name} ===", flush=True)
            began = time.monotonic()
            outcome = STAGES[name](options)
            results[name] = (outcome, time.monotonic() - began)
            print(f"=== {name}: {'FAILED' if outcome.failed else 'ok'} after {results[name][1]:.0f} s ===", flush=True)
    finally:
        ahead.end()

    print("\n=== summary ===")
    for name, (outcome, seconds) in results.items():
        print(f"{name:12} {outcome.passed:5} passed {outcome.failed:5} failed {outcome.skipped:5} skipped"
              f"  {seconds:7.0f} s  {outcome.note}")
        for reason in outcome.reasons:
            print(f"             {reason}")
    for name, (outcome, _) in results.items():
        for fault in outcome.faults:
            print(f"FAILED in {name}: {fault.rstrip()}")
    passed = sum(o.passed for o, _ in results.values())
    failed = sum(o.failed for o, _ in results.values())
    skipped = sum(o.skipped for o, _ in results.values())
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
