"""Runs clang-tidy over the product and the simulator; a warning is a failure. Usage: tidy.py BUILD_DIR JOBS

A file whose text, headers of ours and configuration are unchanged since it was last clean is not read again.
"""
import concurrent.futures
import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
build, jobs = ROOT / sys.argv[1], int(sys.argv[2])
cache = build / "tidy-clean"
cache.mkdir(exist_ok=True)

common = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
for header in sorted((ROOT / "src").rglob("*.hpp")) + sorted((ROOT / "sim").rglob("*.hpp")):
    common.update(header.read_bytes())

commands = json.loads((build / "compile_commands.json").read_text())
sources = sorted({c["file"] for c in commands
                  if Path(c["file"]).is_relative_to(ROOT / "src") or Path(c["file"]).is_relative_to(ROOT / "sim")})


def check(source):
    key = common.copy()
    key.update(Path(source).read_bytes())
    mark = cache / key.hexdigest()
    if mark.exists():
        return source, 0, ""
    # The compile database is written for g++; these are its options that clang does not know.
    done = subprocess.run(["clang-tidy-19", "-quiet", "-p", str(build), "--extra-arg=-Wno-unknown-warning-option", source],
                          capture_output=True, text=True)
    if done.returncode == 0:
        mark.touch()
    return source, done.returncode, done.stdout


failed = 0
with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    for source, status, text in pool.map(check, sources):
        if status != 0:
            failed += 1
            print(text)
print(f"clang-tidy: {len(sources)} files, {failed} with findings")
sys.exit(1 if failed or not sources else 0)
