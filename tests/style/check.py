"""Keeps the rooms in order: includes run downwards only, every room has a README, files stay small and formatted.

Also refuses what has no place in the tree: unexplained work markers and absolute developer paths.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# What each room of src/ may include, besides itself. Order is from the bottom up.
ALLOWED = {
    "base": set(),
    "checkpoint": {"base"},
    "engine": {"base", "checkpoint"},
    "arbiter": {"base"},
    "link": {"base", "checkpoint", "engine"},
    "http": {"base", "link"},
    "hypervisor": {"base", "checkpoint"},
    "output": {"base", "checkpoint", "hypervisor"},
    "disk": {"base", "checkpoint"},
    "guard": {"base", "checkpoint", "engine", "arbiter", "link", "http", "hypervisor", "output", "disk"},
    "daemon": {"base", "checkpoint", "engine", "arbiter", "link", "http", "hypervisor", "guard"},
    "cli": {"base", "link", "http", "hypervisor", "guard", "daemon"},
}
# The engine is pure: only these from outside of std, and of checkpoint only its plain types.
ENGINE_CHECKPOINT = {"checkpoint/layout.hpp"}
MAX_LINES = 600

problems = []


def files(*suffixes):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True, check=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and (not suffixes or path.suffix in suffixes):
            yield path


def check_includes():
    for path in files(".hpp", ".cpp"):
        parts = path.relative_to(ROOT).parts
        if parts[0] != "src" or len(parts) < 3:
            continue
        room = parts[1]
        if room not in ALLOWED:
            problems.append(f"{path.relative_to(ROOT)}: room '{room}' is not in the map of tests/style/check.py")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#include\s+"([^"]+)"', line)
            if not found:
                continue
            target = found[1].split("/")[0]
            if target in ALLOWED and target != room and target not in ALLOWED[room]:
                problems.append(f"{path.relative_to(ROOT)}:{number}: {room} may not include {found[1]}")
            if room == "engine" and target == "checkpoint" and found[1] not in ENGINE_CHECKPOINT:
                problems.append(f"{path.relative_to(ROOT)}:{number}: the engine takes only plain types of checkpoint")


def check_rooms():
    for folder in sorted((ROOT / "src").iterdir()):
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "README.md").exists():
            problems.append(f"src/{folder.name}: a room needs a README.md")


def check_texts():
    marker = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    home = re.compile(r"(^|[^\w./-])/(wo" + r"rk|root|home)/")
    for path in files(".hpp", ".cpp", ".py", ".c", ".sh", ".md", ".cmake", ".toml", ".yaml"):
        text = path.read_text(errors="replace").splitlines()
        if path.suffix in (".hpp", ".cpp", ".py", ".c") and len(text) > MAX_LINES:
            problems.append(f"{path.relative_to(ROOT)}: {len(text)} lines; is it still one concept? (limit {MAX_LINES})")
        for number, line in enumerate(text, 1):
            if marker.search(line):
                problems.append(f"{path.relative_to(ROOT)}:{number}: unfinished work marked here; finish it or file it")
            if home.search(line):
                problems.append(f"{path.relative_to(ROOT)}:{number}: a path of somebody's machine")


def check_headers():
    for path in files(".hpp"):
        text = path.read_text()
        if "#pragma once" not in text:
            problems.append(f"{path.relative_to(ROOT)}: no #pragma once")
        if not text.startswith("//"):
            problems.append(f"{path.relative_to(ROOT)}: a header opens with a comment: the problem, and the idea")


def check_format():
    sources = [str(path) for path in files(".hpp", ".cpp")]
    done = subprocess.run(["clang-format", "--dry-run", *sources], cwd=ROOT, text=True, capture_output=True, check=False)
    wrong = sorted(set(re.findall(r"^(.+?):\d+:\d+: warning", done.stderr, re.M)))
    problems.extend(f"{Path(path).relative_to(ROOT)}: clang-format -i would change it" for path in wrong)
    if done.returncode != 0:
        problems.append(f"clang-format: {done.stderr.strip()}")


check_includes()
check_rooms()
check_texts()
check_headers()
check_format()
for problem in problems:
    print(problem)
print(f"style: {len(problems)} problem(s)")
sys.exit(1 if problems else 0)
