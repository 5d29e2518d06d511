"""All tests, stage by stage; each stage counts what passed, failed and was skipped, and why.

The last line is 'N passed, N failed, N skipped'. Exit status 0 only if nothing failed.
"""
import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS = str(os.cpu_count() or 2)


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
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


def ctest(preset, only=""):
    command = ["ctest", "--preset", preset, "-j", JOBS]
    command += ["-R", only] if only else ["-L", "unit|sim"]
    status, text = run(command, capture=True)
    found = re.search(r"(\d+) tests failed out of (\d+)", text)
    if not found:
        return Outcome(failed=1, note="ctest ran nothing")
    failed, total = int(found[1]), int(found[2])
    return Outcome(passed=total - failed, failed=failed or (1 if status else 0))


def stage_style(_):
    status, _text = run(["/usr/bin/python3", "tests/style/check.py"])
    return Outcome(passed=int(status == 0), failed=int(status != 0))


def stage_unit(_):
    return ctest("test") if build("test") else Outcome(failed=1, note="build failed")


def stage_simulator(options):
    seeds = "5000000" if options.soak else "200000"
    status, _text = run(["build/test/sim/remus-sim", "--seeds", seeds, "--jobs", JOBS])
    return Outcome(passed=int(status == 0), failed=int(status != 0), note=f"{seeds} seeds")


# Where memory is handled by hand and where threads meet; `--soak` takes every room.
SANITIZED = {
    "asan": ["checkpoint", "engine", "arbiter", "guard"],
    "tsan": ["engine", "guard"],
}


def stage_sanitizers(options):
    total = Outcome()
    for preset, rooms in SANITIZED.items():
        targets = (["unit_tests"] if options.soak else [f"test_{room}" for room in rooms]) + ["test_sim"]
        if not build(preset, targets):
            total.failed += 1
            total.note += f" {preset} build failed"
            continue
        only = "" if options.soak else r"^(unit\.(" + "|".join(rooms) + r")|sim\.short|sim\.replay)$"
        part = ctest(preset, only=only)
        total.passed += part.passed
        total.failed += part.failed
    return total


def stage_fuzz(options):
    if not build("fuzz", ["fuzzers"]):
        return Outcome(failed=1, note="build failed")
    total = Outcome()
    runs = 20_000_000 if options.soak else 200_000
    for target in sorted((ROOT / "build/fuzz/tests/fuzz").glob("*/fuzz_*")):
        if not os.access(target, os.X_OK) or target.is_dir():
            continue
        corpus = ROOT / "tests/fuzz" / target.parent.name / "corpus" / target.name
        work = ROOT / "build/fuzz/corpus" / target.name
        work.mkdir(parents=True, exist_ok=True)
        command = [str(target), f"-runs={runs}", "-seed=1", "-verbosity=0", "-print_final_stats=0", "-timeout=20",
                   f"-artifact_prefix={work}-", str(work)]
        if corpus.is_dir():
            command.append(str(corpus))
        status, _text = run(command)
        total.passed += status == 0
        total.failed += status != 0
    if total.passed + total.failed == 0:
        return Outcome(failed=1, note="no fuzz targets were built")
    total.note = f"{runs} executions each"
    return total


def stage_tidy(_):
    if not (ROOT / "build/test/compile_commands.json").exists() and not build("test"):
        return Outcome(failed=1, note="build failed")
    status, _text = run(["/usr/bin/python3", "tests/style/tidy.py", "build/test", JOBS])
    return Outcome(passed=int(status == 0), failed=int(status != 0))


def stage_integration(options):
    if not build("test"):
        return Outcome(failed=1, note="build failed")
    command = ["/usr/bin/python3", "-m", "pytest", "-rs", "-v", "-p", "no:cacheprovider", "tests/integration"]
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
            outcome.skipped = re.findall(r"^SKIPPED .*$", text, re.M) or ["(no reason printed)"] * int(number)
        else:
            outcome.failed += int(number)
    if status not in (0, 1) or (status == 1 and outcome.failed == 0):
        outcome.failed += 1
    return outcome


STAGES = {
    "style": stage_style,
    "unit": stage_unit,
    "simulator": stage_simulator,
    "integration": stage_integration,
    "fuzz": stage_fuzz,
    "sanitizers": stage_sanitizers,
    "tidy": stage_tidy,
}
ON_REQUEST = {"fuzz", "sanitizers", "tidy"}  # long builds of their own: name them, or --soak


def main():
    parser = argparse.ArgumentParser(
        prog="./test", description="Runs Remus' tests.",
        epilog="examples: ./test            everything (CI does this)\n"
               "          ./test unit       one stage\n"
               "          ./test --soak     the long form: 100 kills, millions of seeds\n"
               "          ./test integration -k failover",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="of: " + ", ".join(STAGES))
    parser.add_argument("--soak", action="store_true", help="long form of simulator, fuzz and integration")
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
    for name in options.stages or usual:
        print(f"\n=== {name} ===", flush=True)
        began = time.monotonic()
        outcome = STAGES[name](options)
        results[name] = (outcome, time.monotonic() - began)

    print("\n=== summary ===")
    for name, (outcome, seconds) in results.items():
        print(f"{name:12} {outcome.passed:5} passed {outcome.failed:5} failed {len(outcome.skipped):5} skipped"
              f"  {seconds:7.0f} s  {outcome.note}")
        for reason in outcome.skipped:
            print(f"             {reason}")
    passed = sum(o.passed for o, _ in results.values())
    failed = sum(o.failed for o, _ in results.values())
    skipped = sum(len(o.skipped) for o, _ in results.values())
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
