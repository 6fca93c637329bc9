"""Disks that are full, read-only or broken, and files that vanish: what a command leaves, says, and does afterwards."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import forked
from tests.faults.jobs import Job
from tests.faults.kills import Known, _temporary, chunks, tree, uninterrupted

Prepare = Callable[[], None] | None


@contextmanager
def small_disk(place: Path, known: Known, rng: random.Random) -> Iterator[Prepare]:
    """A filesystem of its own that is too small by a random amount."""
    with _mounted(place, f"size={_needed(known, rng)}"):
        yield None


@contextmanager
def read_only(place: Path, known: Known, rng: random.Random) -> Iterator[Prepare]:
    """A filesystem of its own that is mounted read-only."""
    with _mounted(place, "size=4m,ro"):
        yield None


@contextmanager
def file_limit(place: Path, known: Known, rng: random.Random) -> Iterator[Prepare]:
    """No file may grow beyond a limit (as with a quota): a write in the middle of a file fails."""
    limit = rng.randint(1, max(known.sizes.values()))

    def prepare() -> None:
        lines = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # the limit is not for what the command says
        for stream in (1, 2):
            os.dup2(lines.stdin.fileno(), stream)  # type: ignore[union-attr]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    yield prepare


@contextmanager
def vanishing(place: Path, known: Known, rng: random.Random) -> Iterator[Prepare]:
    """The folder is deleted at a random event on its files."""
    number = rng.randint(1, known.events)
    yield lambda: _at_event(place, number, lambda: shutil.rmtree(place, ignore_errors=True))


@contextmanager
def broken(place: Path, known: Known, rng: random.Random) -> Iterator[Prepare]:
    """From a random event on its files on, the system reports an I/O error when one is opened, made or renamed."""
    number = rng.randint(1, known.events)

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    yield lambda: _at_event(place, number, fail, ever_after=True)


@contextmanager
def late_error(place: Path, known: Known, rng: random.Random) -> Iterator[Prepare]:
    """A write fails only when the bytes go to the disk, as NFS reports it (fsync)."""
    number = [rng.randint(1, max(1, len(known.files)))]
    real = os.fsync

    def fsync(handle: int) -> None:
        number[0] -= 1
        if number[0] == 0:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(handle)

    def prepare() -> None:
        os.fsync = fsync

    yield prepare


FAULTS: dict[str, Any] = {
    "disk full": small_disk,
    "read-only": read_only,
    "file limit": file_limit,
    "folder vanishes": vanishing,
    "I/O error": broken,
    "quota at fsync": late_error,
}
MOUNTS = ("disk full", "read-only")


@dataclass
class Survived:
    """What happened to one fault and verb: times it struck, times it did not, and what was wrong afterwards."""

    struck: int = 0
    missed: int = 0
    wrong: list[str] = field(default_factory=list)


def can_mount() -> bool:
    """Whether this process may mount a filesystem."""
    if os.geteuid() or sys.platform != "linux":
        return False
    probe = Path(f"/tmp/culnig-mount-{os.getpid()}")
    probe.mkdir()
    try:
        with _mounted(probe, "size=4k"):
            return True
    except OSError:
        return False
    finally:
        probe.rmdir()


def strike(fault: str, job: Job, known: Known, folder: Path, rng: random.Random, outcome: Survived) -> None:
    """Run a job under a fault, check what it left and said, and run it again without the fault."""
    with chunks(job):
        _strike(fault, job, known, folder, rng, outcome)


def _strike(fault: str, job: Job, known: Known, folder: Path, rng: random.Random, outcome: Survived) -> None:
    """Run a job under a fault, check what it left and said, and run it again without the fault."""
    place, log = folder / "whole", folder / "log"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    before = _earlier(job, place, fault)
    with FAULTS[fault](place, known, rng) as prepare:
        ended = forked.finish(job.command(place), log, prepare)
        kept = before is None or not (place / job.out).is_file() or (place / job.out).read_bytes() == before
        # A fault after the end, when progress is deleted, leaves the finished file: it is the last good one then.
        kept = kept or tree(place).get(job.out) == known.files[job.out]
        finished = ended.code == 0
        left = [name for name in (tree_names(place) if place.exists() else []) if _temporary(name)]
    where = f"{fault}, {job.name}"
    if finished:
        outcome.missed += 1
        return
    outcome.struck += 1
    lines = [line for line in ended.said.splitlines() if line.startswith("culnig:")]
    if ended.code != 1 or len(lines) != 1 or "Traceback" in ended.said:
        outcome.wrong.append(f"{where}: exit code {ended.code}, {len(lines)} lines: {ended.said[-1500:]}")
    if not kept:
        outcome.wrong.append(f"{where}: the last good file has other bytes")
    if fault in ("disk full", "file limit", "quota at fsync") and [n for n in left if n.endswith(".part")]:
        outcome.wrong.append(f"{where}: left behind {left}")
    place.mkdir(exist_ok=True)
    if job.once:
        shutil.rmtree(place / job.out, ignore_errors=True)
    again = forked.finish(job.command(place), log)
    if again.code:
        outcome.wrong.append(f"{where}: going on afterwards: {again.code}: {again.said[-800:]}")
    elif (found := tree(place)) != known.files:
        differing = [n for n in sorted(found.keys() | known.files.keys()) if found.get(n) != known.files.get(n)]
        outcome.wrong.append(f"{where}: afterwards other bytes or files: {differing[:5]}")


def sample(jobs: Iterable[Job], rounds: int, folder: Path, seed: int = 0) -> dict[tuple[str, str], Survived]:
    """Strike every job with every fault so many times; return (fault, verb) -> what happened."""
    rng = random.Random(seed)
    outcomes: dict[tuple[str, str], Survived] = {}
    faults = [name for name in FAULTS if name not in MOUNTS or can_mount()]
    for job in jobs:
        place = folder / job.name.replace(" ", "-")
        known = uninterrupted(job, place)
        for fault in faults:
            outcome = outcomes.setdefault((fault, job.verb), Survived())
            for _ in range(rounds):
                strike(fault, job, known, place, rng, outcome)
    return outcomes


def tree_names(folder: Path) -> list[str]:
    """Names of all files below a folder."""
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]


def _earlier(job: Job, place: Path, fault: str) -> bytes | None:
    """Put an older result in the place of the output, where the fault leaves the folder as it is."""
    if job.once or "." not in job.out or fault in (*MOUNTS, "folder vanishes"):
        return None
    (place / job.out).write_bytes(b"an older result")
    return b"an older result"


def _needed(known: Known, rng: random.Random) -> int:
    whole = sum(4096 * -(-size // 4096) for size in known.sizes.values())
    return 4096 * rng.randint(1, max(1, whole // 4096 - 1))


@contextmanager
def _mounted(place: Path, options: str) -> Iterator[None]:
    """A tmpfs at a place; what it holds in the end is copied to the folder below, as if room had been made."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.decode().strip())
    aside = place.with_name(f"{place.name}.aside")
    try:
        yield
        shutil.copytree(place, aside)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    shutil.copytree(aside, place, dirs_exist_ok=True)
    shutil.rmtree(aside)


def _at_event(folder: Path, number: int, act: Callable[[], None], ever_after: bool = False) -> None:
    """Do something at this process's n-th event on files below a folder, and at each later one."""
    root, seen, acting = str(folder), [0], [False]

    def hook(event: str, details: tuple[object, ...]) -> None:
        if event not in forked.EVENTS or not details or not isinstance(details[0], str | bytes | os.PathLike):
            return
        if acting[0] or (event == "open" and not forked._writes(details)):
            return
        if os.fsdecode(details[0]).startswith(root):
            seen[0] += 1
            if seen[0] == number or (ever_after and seen[0] > number):
                acting[0] = True
                try:
                    act()
                finally:
                    acting[0] = False

    sys.addaudithook(hook)
