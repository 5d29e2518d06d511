"""Debian packages for the lab, without touching the machine: apt with a state of its own, unpacked into the cache.

A set of packages (with all they need) is resolved and fetched once; which files it came to is kept in `sets/`, so that
later labs ask no mirror. Nothing is installed: no maintainer script runs, a root is just the packages' files.

    ~/.cache/remus-lab/xen/apt    lists and configuration (the machine's own Debian mirrors, amd64 and i386)
                          /debs   package files
                          /sets   names of the package files of each set asked for
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from lab.common import paths
from lab.common.errors import LabError
from lab.common.shell import run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
RELEASE = "bookworm"
LEFT_OUT = ["./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/info/*"]
MERGED = ["bin", "sbin", "lib", "lib32", "lib64"]


class Unavailable(LabError):
    """Packages that are not in the cache cannot be fetched: no apt, no such source, no mirror to be reached."""


def store() -> Path:
    """Packages, and what the labs make of them. Named after the lab that needs most: renaming it would fetch all anew."""
    path = paths.cache() / "xen"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(what: str) -> Iterator[None]:
    """One process at a time makes `what`; others wait and then find it made."""
    (store() / "locks").mkdir(exist_ok=True)
    with open(store() / "locks" / what, "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def prune(used: Path, pattern: str, keep: int = 4) -> None:
    """Removes all but the few last used of the store's pieces of a kind, `used` among them: each change of the lab makes new ones.

    By use, not by age: a host that is switched on again looks for what it was first booted from.
    """
    os.utime(used)
    for path in sorted(store().glob(pattern), key=lambda path: path.stat().st_mtime)[:-keep]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _mirrors() -> list[tuple[str, str]]:
    """The machine's mirrors of this release: (address, suite). Others of its sources are of no use here."""
    done = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"], check=False)
    found = {tuple(line.split()) for line in done.stdout.splitlines() if len(line.split()) == 2}
    suites = {RELEASE, f"{RELEASE}-security"}
    mirrors = sorted((uri, suite) for uri, suite in found if suite in suites)
    if RELEASE not in {suite for _, suite in mirrors}:
        raise Unavailable(f"apt has no source for Debian {RELEASE} (the lab is made of its packages); see /etc/apt")
    return mirrors


def _configure(root: Path) -> None:
    for part in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "state/status").touch()
    sources = []
    for uri, suite in _mirrors():
        # i386 comes from the main suite only: one kernel and a C library are wanted of it, at any version.
        architectures = "amd64,i386" if suite == RELEASE else "amd64"
        sources.append(f"deb [arch={architectures} signed-by={KEYRING}] {uri} {suite} main")
        if suite == RELEASE:
            sources.append(f"deb-src [signed-by={KEYRING}] {uri} {suite} main")
    (root / "etc/sources.list").write_text("\n".join(sources) + "\n", encoding="utf-8")
    lines = [f'Dir::State "{root}/state";', f'Dir::State::status "{root}/state/status";']
    lines += [f'Dir::Cache "{root}/cache";', f'Dir::Etc "{root}/etc";', f'Dir::Cache::archives "{store()}/debs";']
    lines += ['APT::Architecture "amd64";', 'APT::Architectures { "amd64"; "i386"; };', 'APT::Install-Recommends "0";']
    lines += ['APT::Sandbox::User "root";', 'Acquire::Languages "none";', 'Acquire::Retries "3";']
    (root / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _apt(words: list[str], *, timeout: float = 300, cwd: Path | None = None) -> str:
    """Runs an apt program on the lab's own state, which is made when first needed. The caller holds the lock."""
    root = store() / "apt"
    environment = {**os.environ, "APT_CONFIG": str(root / "apt.conf"), "LC_ALL": "C.UTF-8"}
    if not (root / "updated").exists():
        if not shutil.which("apt-get"):
            raise Unavailable("the lab is made of Debian's packages, fetched by apt-get, which is not here")
        _configure(root)
        (store() / "debs" / "partial").mkdir(parents=True, exist_ok=True)
        _fetch(["apt-get", "-qq", "update"], timeout=180, env=environment)
        (root / "updated").touch()
    return _fetch(words, timeout=timeout, env=environment, cwd=cwd)


def _fetch(words: list[str], **options) -> str:
    try:
        return run(words, **options).stdout
    except LabError as error:
        raise Unavailable(f"packages for the lab cannot be fetched: {error}") from error


def _remembered(kind: str, wanted: list[str], resolve) -> list[Path]:
    """The files of a set: as noted when it was first asked for, else resolved and fetched now."""
    digest = hashlib.sha256(repr((kind, sorted(wanted), RELEASE)).encode()).hexdigest()[:16]
    note = store() / "sets" / f"{digest}.json"
    with locked("apt"):
        if note.exists():
            files = [store() / "debs" / name for name in json.loads(note.read_text(encoding="utf-8"))]
            if all(file.exists() for file in files):
                return files
        try:
            files = resolve(wanted)
        except LabError:
            (store() / "apt" / "updated").unlink(missing_ok=True)  # the lists may have aged: once more with new ones
            files = resolve(wanted)
        note.parent.mkdir(exist_ok=True)
        note.write_text(json.dumps([file.name for file in files]), encoding="utf-8")
        return files


def _names(uris: str) -> list[str]:
    """File names in the output of --print-uris: 'URI' NAME SIZE HASH."""
    return re.findall(r"^'[^']*' (\S+) \d+", uris, re.MULTILINE)


def with_dependencies(wanted: list[str]) -> list[Path]:
    """Package files of these packages and all they need."""

    def resolve(names: list[str]) -> list[Path]:
        _apt(["apt-get", "install", "-y", "-qq", "--download-only", *names])
        # Files that are there already are not listed: ask as if none were.
        nowhere = ["-o", "Dir::Cache::archives=/nonexistent/"]
        listed = _apt(["apt-get", "install", "-y", "-qq", "--print-uris", *nowhere, *names])
        return [store() / "debs" / name for name in _names(listed)]

    return _remembered("closure", wanted, resolve)


def alone(wanted: list[str]) -> list[Path]:
    """Package files of just these packages; 'META>PATTERN' stands for what META depends on and PATTERN matches."""

    def resolve(names: list[str]) -> list[Path]:
        concrete = []
        for name in names:
            meta, _, pattern = name.partition(">")
            if pattern:
                text = _apt(["apt-cache", "depends", "--no-recommends", "--no-suggests", meta])
                found = re.search(rf"Depends: ({pattern}(?::\w+)?)\n", text)
                if not found:
                    raise LabError(f"Debian's package {meta} depends on nothing like {pattern}")
                concrete.append(found.group(1))
            else:
                concrete.append(name)
        # One by one, so that the order of the answer is the order of the question.
        found_files = []
        for name in concrete:
            listed = _names(_apt(["apt-get", "download", "--print-uris", name]))
            _apt(["apt-get", "download", "-qq", name], cwd=store() / "debs")
            found_files.append(store() / "debs" / listed[0])
        return found_files

    return _remembered("alone", wanted, resolve)


def source(package: str) -> list[Path]:
    """Files of a source package of the release."""

    def resolve(names: list[str]) -> list[Path]:
        listed = _names(_apt(["apt-get", "source", "--print-uris", "-qq", names[0]]))
        _apt(["apt-get", "source", "-qq", "--download-only", names[0]], cwd=store() / "debs")
        return [store() / "debs" / name for name in listed]

    return _remembered("source", [f"{package}/{RELEASE}"], resolve)


def unpack(file: Path, target: Path) -> None:
    """Unpacks a package file over a root whose /bin, /lib, ... may be symbolic links."""
    target.mkdir(parents=True, exist_ok=True)
    words = ["tar", "-x", "-C", str(target), "--keep-directory-symlink", *[f"--exclude={item}" for item in LEFT_OUT]]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as sender:
        done = subprocess.run([*words, "-f", "-"], stdin=sender.stdout, capture_output=True, text=True, check=False)
        sender.stdout.close()
    if done.returncode != 0 or sender.returncode != 0:
        raise LabError(f"cannot unpack {file.name}: {done.stderr.strip()[-500:]} (delete it to fetch it anew)")


def unpacked(file: Path) -> Path:
    """The content of one package, unpacked into the cache."""
    target = store() / "unpacked" / unquote(file.stem)
    with locked("unpacked"):
        if not target.exists():
            unfinished = target.with_name(target.name + ".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unpack(file, unfinished)
            unfinished.rename(target)
    return target


def make_root(files: list[Path], root: Path) -> None:
    """A root file system of packages: their files, and what their scripts would have made that a program needs to start."""
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for file in files:
        unpack(file, root)
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "mnt", "etc"):
        (root / name).mkdir(exist_ok=True)
    for link, target in (("usr/bin/awk", "mawk"), ("usr/bin/sh", "dash")):
        if not (root / link).is_symlink() and (root / "usr/bin" / target).exists():
            (root / link).symlink_to(target)
    for name in ("passwd", "group"):
        master = root / "usr/share/base-passwd" / f"{name}.master"
        if master.exists():
            shutil.copy(master, root / "etc" / name)
    run(["chroot", root, "/sbin/ldconfig"], timeout=60)
