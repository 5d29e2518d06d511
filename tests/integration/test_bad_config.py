"""Configurations that are wrong: the daemon says file, line, and what to do, and ends with its documented status."""

import subprocess
from pathlib import Path

import pytest

from lab.common import remus

BAD = 2  # docs/man/remusd.8.md


def remusd(*words: str | Path) -> subprocess.CompletedProcess:
    command = [str(word) for word in (remus.program("remusd"), *words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


# name: (text, where it is, what is said)
WRONG = {
    "unknown key": ('[host]\nname = "a"\nnmae = "b"\n', "3:1", ["nmae", "name"]),
    "unknown table": ('[host]\nname = "a"\n[netwrok]\n', "3", ["netwrok", "network"]),
    "wrong type": ("[network]\npeer_port = \"high\"\n", "2:1", ["network.peer_port", "number"]),
    "out of range": ("[network]\n\npeer_port = 70000\n", "3:1", ["network.peer_port", "65535"]),
    "negative": ("[network]\npeer_port = -1\n", "2:1", ["network.peer_port"]),
    "ports that overlap": ("[network]\npeer_port = 7610\n", "1", ["guard_ports", "7610"]),
    "duration without unit": ('[defaults]\ninterval = "50"\n', "2:1", ["defaults.interval", "50ms"]),
    "duration out of range": ('[defaults]\ninterval = "1h"\n', "2:1", ["interval", "10s"]),
    "options that do not fit together": ('[defaults]\nalone_after = "1s"\ndetect_max = "2s"\n', "2:1", ["alone_after", "detect_max"]),
    "unknown arbiter": ('[defaults]\narbiter = "none"\n', "2:1", ["arbiter", "manual"]),
    "unknown level": ('[log]\nlevel = "loud"\n', "2:1", ["log.level", "debug"]),
    "relative path": ('[paths]\npki = "pki"\n', "2:1", ["paths.pki", "absolute"]),
    "peer without address": ("[peers.hostB]\naddresses = []\n", "2:1", ["peers.hostB.addresses", "1 to 8"]),
    "bad address": ('[peers.hostB]\naddresses = ["hostb:0"]\n', "2:1", ["addresses", "hostb:0"]),
    "bad host name": ('[host]\nname = "-a b"\n', "2:1", ["host.name"]),
    "no TOML": ("[host\nname = 1\n", "1:", []),
    "a key twice": ('[host]\nname = "a"\nname = "b"\n', "3:", ["name"]),
    "no text": ("\x00\x01\x02", "1:", []),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_configuration(tmp_path, what):
    text, place, told = WRONG[what]
    file = tmp_path / "remus.toml"
    file.write_text(text)
    for words in (["--check"], []):  # what --check finds, a start finds as well
        done = remusd("--config", file, *words)
        assert done.returncode == BAD, done
        assert done.stderr.startswith(f"remusd: {file}:{place}"), done.stderr
        for fragment in told:
            assert fragment in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) <= 2, "a sentence, not a page"


def test_not_there(tmp_path):
    done = remusd("--config", tmp_path / "nothing.toml")
    assert done.returncode == BAD
    assert "nothing.toml" in done.stderr and "No such file" in done.stderr


def test_directory_in_its_place(tmp_path):
    done = remusd("--config", tmp_path)
    assert done.returncode == BAD
    assert str(tmp_path) in done.stderr


def test_huge(tmp_path):
    file = tmp_path / "remus.toml"
    file.write_text("# nothing\n" * 200_000)
    done = remusd("--config", file)
    assert done.returncode == BAD
    assert "larger" in done.stderr


def test_empty_is_good(tmp_path):
    file = tmp_path / "remus.toml"
    file.write_text("")
    assert remusd("--config", file, "--check").returncode == 0


def test_packaged_one_is_good():
    packaged = Path(__file__).resolve().parents[2] / "packaging" / "remus.toml"
    assert remusd("--config", packaged, "--check").returncode == 0


def test_unknown_option():
    done = remusd("--conf", "x")
    assert done.returncode != 0
    assert "--conf" in done.stdout + done.stderr


def test_cannot_serve(tmp_path):
    """A good configuration that this machine cannot carry out: another status, and what to do."""
    file = tmp_path / "remus.toml"
    (tmp_path / "state").write_text("in the way")
    file.write_text(
        f'[paths]\nrun = "{tmp_path}/run"\nstate = "{tmp_path}/state"\nimage = "{tmp_path}/image"\npki = "{tmp_path}/pki"\n'
    )
    done = remusd("--config", file)
    assert done.returncode == 1, done
    assert f"{tmp_path}/state" in done.stderr


def test_group_that_is_not_there(tmp_path):
    file = tmp_path / "remus.toml"
    file.write_text(
        f'[paths]\nrun = "{tmp_path}/run"\nstate = "{tmp_path}/state"\nimage = "{tmp_path}/image"\npki = "{tmp_path}/pki"\n'
        '[api]\ngroup = "nobody-has-this"\n'
    )
    done = remusd("--config", file)
    assert done.returncode == 1, done
    assert "nobody-has-this" in done.stderr and "groupadd" in done.stderr
