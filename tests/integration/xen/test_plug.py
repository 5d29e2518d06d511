"""The kernel's output buffer in a dom0: its unit tests, run where the modules are that this machine's kernel may lack."""

import shutil

import pytest

from lab.common import paths
from lab.xen.host import stripped

pytestmark = pytest.mark.xen

MODULES = ["ifb", "sch_plug", "sch_ingress", "cls_matchall", "act_mirred"]


def test_packets_are_held_and_released_by_epoch(lab):
    host = lab.host("A")
    built = paths.build() / "tests/unit/output/test_output_plug"
    shutil.copy(stripped(built), host.path("/run/host/test_output_plug"))
    host.run(["modprobe", "-a", *MODULES])
    done = host.run(["/run/host/test_output_plug"], timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "SKIPPED" not in done.stdout, done.stdout[-3000:]
    assert "[  PASSED  ]" in done.stdout
