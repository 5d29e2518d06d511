"""The story: two hosts, a guest, a session, protection, a death, and what became of the session."""

import argparse
import json
import threading
import time
from collections.abc import Callable

from lab.common.errors import LabError
from lab.common.registry import start_time
from lab.demo import view
from lab.demo.build import build
from lab.demo.keep import keep_up
from lab.demo.scene import Scene
from lab.demo.screen import Screen
from lab.demo.verdict import Evidence, checks, outage_text

FRAME_S = 0.1
CLIENT_REPORT_S = 0.05
GOES_ON_S = 2.0  # how long the session is watched after the failover
STATUS_COLUMN = 20  # where `remus status` puts its values
SHOWN_B_S = 0.2  # host B is asked this often while it decides: seldom enough not to disturb it


class Story:
    """Told once."""

    def __init__(self, options: argparse.Namespace, scene: Scene, screen: Screen) -> None:
        self._options = options
        self._scene = scene
        self._screen = screen
        self._evidence = Evidence()
        self._lab = None
        self._guest = None
        self._client = None

    def tell(self) -> bool:
        """Returns whether all was right. Whatever happens, nothing is left behind but the logs."""
        options, screen = self._options, self._screen
        screen.step("Preparing")
        build(screen, options.build_dir, self._scene.targets)
        self._scene.prepare(screen)
        with self._scene.lab() as lab:
            self._lab = lab
            self._boot()
            self._protect()
            self._watch()
            self._verify()
            self._kill()
            self._follow_failover()
            self._collect()
            all_right = self._give_verdict()
            if options.keep:
                keep_up(self._scene, lab, {self._guest.spec.name: self._guest}, screen)
        screen.say()
        screen.say(screen.dim(f"Logs of every process: lab/out/{options.lab}/"))
        return all_right

    # -- before the kill -----------------------------------------------------------------------------------------

    def _boot(self) -> None:
        options, lab, screen = self._options, self._lab, self._screen
        screen.step("Two hosts, a guest on host A, a client with a TCP session")
        lab.link("repl").set(delay=options.delay, loss=options.loss, rate=options.rate)
        lab.install_remus()
        screen.note("hosts A and B are up, with certificates, configuration and remusd")
        began = time.monotonic()
        self._guest = self._scene.start_guest(lab)
        screen.note(f"guest web1 booted on host A in {time.monotonic() - began:.1f} s")
        every_s = self._scene.record_every_s
        self._client = lab.stream(
            self._guest, "--interval", every_s, "--report", CLIENT_REPORT_S, "--patience", max(5.0, options.wait),
            within=self._scene.patience_s,
        )  # fmt: skip
        screen.note(f"the client sends and receives numbered, checksummed records, every {every_s * 1000:g} ms, both ways")

    def _protect(self) -> None:
        lab, screen = self._lab, self._screen
        command = [*self._scene.protect_words(self._guest), *self._scene.detect]
        screen.step(f"hostA# remus {' '.join(command)}")
        done: list = []
        worker = threading.Thread(
            target=lambda: done.append(_attempt(lambda: lab.remus("A", *command, check=False, timeout=self._scene.patience_s))), daemon=True
        )
        worker.start()
        while worker.is_alive():
            guard = self._status("A").get("guard") or {}
            sync = guard.get("sync") or {}
            total, copied = sync.get("total_bytes") or 0, sync.get("done_bytes") or 0
            words = f"{view.size(copied)} of {view.size(total)}" if total else guard.get("reason") or "starting"
            screen.draw(
                [f"          {screen.bar(copied / total if total else 0)}  {words}"],
                f"{guard.get('state') or 'starting'}: {words}",
            )
            worker.join(FRAME_S)
        result = done[0]
        if isinstance(result, Exception):
            raise result
        if result.returncode != 0:
            raise LabError(f"`remus protect` failed with {result.returncode}: {(result.stderr or result.stdout).strip()}")
        screen.draw([f"          {screen.bar(1.0)}"])
        screen.keep()
        screen.note("web1 is protected: host B holds a copy, and gets every change", paint=screen.good)

    def _watch(self) -> None:
        self._screen.step(f"Protected, and at work ({self._options.seconds:g} s)")
        end = time.monotonic() + self._options.seconds
        while True:
            self._draw_protected()
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, FRAME_S))
        self._screen.keep()

    def _draw_protected(self) -> None:
        screen, status, history = self._screen, self._status("A"), self._client.history
        lines = [*view.guard_lines(screen, status), *view.client_lines(screen, history)]
        screen.draw(
            [f"          {line}" for line in lines],
            f"{view.guard_short(status)}\n          {view.client_short(self._client.stats)}",
        )

    def _verify(self) -> None:
        name, evidence = self._guest.spec.name, self._evidence
        self._screen.step(f"hostA# remus verify {name}")
        result = self._lab.remus("A", "verify", name, check=False, timeout=self._scene.patience_s)
        evidence.verify_ok = result.returncode == 0
        evidence.verify_text = (result.stdout.strip() or result.stderr.strip()).removeprefix(f"{name}: ")
        paint = self._screen.good if evidence.verify_ok else self._screen.bad
        self._screen.note(evidence.verify_text, paint=paint)
        evidence.boot_before = self._boot_id()

    # -- the kill, and after -------------------------------------------------------------------------------------

    def _kill(self) -> None:
        lab, screen, host = self._lab, self._screen, self._lab.host("A")
        told, processes = self._scene.victims(host)
        victims = {pid: (name, start_time(pid)) for pid, name in processes.items()}
        if self._options.kill == "both":
            screen.step("Power cut at host B, then at host A: nothing can save the guest now")
            lab.host("B").power_cut()
        else:
            screen.step("Power cut at host A")
        self._evidence.killed_at = time.time()
        host.power_cut()
        self._evidence.survivors = [
            f"{name} ({pid})" for pid, (name, began) in victims.items() if began and start_time(pid) == began
        ]
        self._evidence.host_a_up = host.is_up
        screen.note(told)

    def _follow_failover(self) -> None:
        """Shows the silence and its end; gives up after --wait seconds."""
        killed, screen, client = time.monotonic(), self._screen, self._client
        heard = client.stats["records_in"]
        asked, status, active_at, resumed_at = 0.0, {}, None, None
        while (now := time.monotonic()) < (killed + self._options.wait if resumed_at is None else resumed_at + GOES_ON_S):
            if active_at is None and now - asked >= SHOWN_B_S:
                asked, status = now, self._status("B")
                if _guard_state(status) == "active":
                    active_at = now
            # A few records were on their way when A died; only an active B's count as the session going on.
            if active_at is None:
                heard = client.stats["records_in"]
            elif resumed_at is None and client.stats["records_in"] > heard:
                resumed_at = now
            self._draw_failover(status, resumed_at is not None, now - killed)
            if not client.running:
                break
            time.sleep(FRAME_S / 2)
        screen.keep()
        self._evidence.status_b = self._status("B")
        if resumed_at is None:
            screen.note("the session did not go on", paint=screen.bad)

    def _draw_failover(self, status: dict, resumed: bool, since_s: float) -> None:
        screen, stats = self._screen, self._client.stats
        b_state = _guard_state(status) or "not answering"
        going = screen.good("the session goes on, from host B") if resumed else screen.warn("waiting for a record")
        lines = [
            f"{screen.dim('host A       ')} {view.state(screen, 'DEAD')} for {since_s:.1f} s",
            f"{screen.dim('host B       ')} {view.state(screen, b_state)}: {status.get('text', '')}",
            *view.client_lines(screen, self._client.history),
            f"{screen.dim('             ')} {going}",
        ]
        plain = (
            f"{since_s:.1f} s after: host B {b_state}; client silent for {stats.get('silent_ms', 0):.0f} ms, "
            f"{stats.get('records_in', 0)} records in{'; the session goes on, from host B' if resumed else ''}"
        )
        screen.draw([f"          {line}" for line in lines], plain)

    def _collect(self) -> None:
        evidence, host = self._evidence, self._lab.host("B")
        if evidence.status_b:
            evidence.boot_after = self._boot_id()
            handle = (evidence.status_b.get("guard") or {}).get("handle") or {}
            evidence.hypervisor_agrees = bool(handle) and self._scene.runs(host, self._guest)
        evidence.client = self._client.finish(within=self._options.wait + 30)
        evidence.history = [line for line in self._client.history if line["type"] == "stats"]

    def _give_verdict(self) -> bool:
        screen, found = self._screen, checks(self._evidence)
        if self._evidence.status_b:
            screen.step(f"hostB# remus status {self._guest.spec.name}")
            for line in self._lab.remus("B", "status", self._guest.spec.name, check=False).stdout.splitlines():
                screen.note(line[STATUS_COLUMN:], head=line[:STATUS_COLUMN])
        screen.step("Verdict")
        for check in found:
            mark = screen.good("ok  ") if check.holds else screen.bad("FAIL")
            screen.note(check.seen, head=f"{mark}  {check.claim:27} ")
        screen.note(outage_text(self._evidence), head=f"      {'outage seen by the client':27} ", paint=screen.bold)
        all_right = all(check.holds for check in found)
        screen.say()
        if all_right:
            screen.note("ALL RIGHT: the guest survived the death of its host, its session lost nothing.", paint=screen.good)
        else:
            wrong = sum(not check.holds for check in found)
            screen.note(f"NOT RIGHT: {wrong} of {len(found)} claims do not hold.", paint=screen.bad)
        return all_right

    # -- asking --------------------------------------------------------------------------------------------------

    def _status(self, host: str) -> dict:
        """`remus status --json`; empty when the host is down or does not know the guest."""
        try:
            result = self._lab.remus(host, "status", self._guest.spec.name, "--json", check=False, timeout=10)
            return json.loads(result.stdout) if result.returncode == 0 or result.stdout.startswith("{") else {}
        except (LabError, ValueError):
            return {}

    def _boot_id(self) -> str | None:
        try:
            return self._guest.shell("cat /proc/sys/kernel/random/boot_id").strip()
        except (LabError, OSError):
            return None


def _guard_state(status: dict) -> str | None:
    return (status.get("guard") or {}).get("state") or status.get("state")


def _attempt(action: Callable):
    """The result, or the LabError: for a thread, whose exceptions nobody would see."""
    try:
        return action()
    except LabError as error:
        return error
