"""What is kept of a failed test: every log of its lab, where every process stands, and, in the report itself, the last words."""

import re
import shutil
import subprocess
from pathlib import Path

from lab.common import paths
from lab.common.base_lab import BaseLab
from lab.qemu import Lab

KEPT = paths.OUT / "failed"
LAST_LINES = 12  # of each guard's log: a report from a machine one cannot reach must say what went on


def keep(test: str, lab: BaseLab) -> Path:
    """Copies the lab's logs before a later test overwrites them."""
    target = KEPT / re.sub(r"[^\w.-]+", "_", test)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        lab.directory,
        target,
        ignore=shutil.ignore_patterns("disk", "*.disk", "disk.qcow2", "*.qmp"),
        ignore_dangling_symlinks=True,
    )
    if isinstance(lab, Lab):  # whose hosts' processes are this machine's
        _keep_stacks(lab, target)
    return target


def last_words(lab: BaseLab) -> str:
    """The ends of the guards' logs, and what each host says of its guests now."""
    said = []
    for name in sorted(lab.hosts):  # none once the lab is gone
        host = lab.host(name)
        if host.is_up:
            try:
                status = lab.remus(name, "status", "--json", check=False, timeout=10)
                said.append(f"-- host {name}: {' '.join((status.stdout or status.stderr).split())[:1500]}")
            except Exception as error:  # whatever is wrong with the host: this is about another failure
                said.append(f"-- host {name}: {error}")
        for log in sorted((lab.directory / name).rglob("*ary.log")) + sorted((lab.directory / name).rglob("*backup.log")):
            lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            said.append(f"-- host {name}, {log.name}\n" + "\n".join(line[11:200] for line in lines))
    return "\n".join(said)


def _keep_stacks(lab: Lab, target: Path) -> None:
    """Where every process of both hosts stands at this moment, if there is a gdb: what hangs is seen nowhere else."""
    if not shutil.which("gdb"):
        return
    for name, host in lab.hosts.items():  # none once the lab is gone
        for pid, program in host.processes().items() if host.is_up else ():
            if not program.startswith(("remus", "qemu-system")):
                continue
            with (target / name / f"stacks-{program}-{pid}.txt").open("w") as out:
                subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 16"], stdout=out,
                               stderr=subprocess.STDOUT, timeout=60, check=False)
