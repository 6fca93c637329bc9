"""Kill commands at random moments, let them finish, and compare the bytes with those of an uninterrupted run."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from culnig.data import item_stream
from tests.faults import forked
from tests.faults.jobs import Job

TIMES = {"seconds", "finished", "checksum", "total"}
"""Fields of JSON that hold times, or a checksum over them."""
MAY_DIFFER = {
    "manifest.json": "when the run finished, and seconds of each step",
    "report.html": "the same two, printed",
    "rounds of a guarded search": "seconds of each round, in the set, the record and tables of it",
}
"""What differs between two uninterrupted runs too, and is therefore compared without those fields."""


@dataclass
class Outcome:
    """What happened to one job.

    Attributes:
        kills: processes that were killed while they worked.
        differing: files whose bytes are not those of the uninterrupted run.
        left: temporary files that were left behind.
        failed: what a command said that did not go on.
    """

    kills: int = 0
    differing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    moments: Counter[str] = field(default_factory=Counter)


@dataclass
class Known:
    """An uninterrupted execution: its files, its seconds, its events on files."""

    files: dict[str, str]
    seconds: float
    events: int
    sizes: dict[str, int]


def uninterrupted(job: Job, folder: Path) -> Known:
    """Run a job without a kill."""
    place = folder / "whole"
    place.mkdir(parents=True)
    with chunks(job):
        ended = forked.count_events(job.command(place), folder / "log", place)
    assert ended.code == 0, f"{job.name}: {ended.said}"
    files = tree(place)
    sizes = {name: (place / name).stat().st_size for name in files}
    shutil.rmtree(place)
    return Known(files, ended.seconds, ended.events, sizes)


def kill(job: Job, known: Known, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Kill one execution, often the next as well, let the last one finish, and compare."""
    place = folder / "whole"  # the same path, which some files record
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with chunks(job):
        finished = _killed(job, known, place, rng, outcome)
    if not finished:
        return
    found = tree(place)
    outcome.left += [f"{job.name}: {name}" for name in found if name not in known.files and _temporary(name)]
    names = sorted(known.files.keys() | found.keys())
    outcome.differing += [
        f"{job.name}: {name}" for name in names if known.files.get(name) != found.get(name) and not _temporary(name)
    ]


def _killed(job: Job, known: Known, place: Path, rng: random.Random, outcome: Outcome) -> bool:
    """Kill a job once or a few times, and let it finish; return whether it did."""
    log = place.parent / "log"
    for _ in range(rng.randint(1, 5)):
        if rng.random() < 0.5:
            ended = forked.kill_after(job.command(place), log, rng.uniform(0, known.seconds))
            moment = "at a random time"
        else:
            ended = forked.kill_at_event(job.command(place), log, place, rng.randint(1, max(1, known.events)))
            moment = "at a file event"
        if ended.code != -9:
            break  # it was done before
        outcome.kills += 1
        outcome.moments[moment] += 1
    if not (job.once and (place / job.out).exists()):
        ended = forked.finish(job.command(place), log)
        if ended.code:
            outcome.failed.append(f"{job.name}: {ended.code}: {ended.said[-800:]}")
            return False
    return True


@contextmanager
def chunks(job: Job) -> Iterator[None]:
    """Let streams of this process, and of those forked from it, hold as many items as a job says."""
    before = item_stream.CHUNK
    item_stream.CHUNK = job.chunk or before
    try:
        yield
    finally:
        item_stream.CHUNK = before


def _temporary(name: str) -> bool:
    last = name.rpartition("/")[2]
    return name.endswith((".part", ".tmp", ".progress")) or ".part/" in name or last.startswith((".", "tmp"))


def tree(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder, without times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(_without_times(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _without_times(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
    if path.suffix == ".html":
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+.]+", "", content.decode())
        # A run that was killed lacks a stage's seconds.
        text = re.sub(r"\s*<dt>(Time|Stages)</dt><dd>[^<]*</dd>\s*", "", text)
        rounds = r'<td class="number"[^>]*>[^<]*</td>'
        return re.sub(rounds, "", text).encode() if "guarded" in text else text.encode()
    if path.suffix in (".parquet", ".csv"):
        return _without_seconds(path, content)
    return content


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if key not in TIMES}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def _without_seconds(path: Path, content: bytes) -> bytes:
    """The bytes of a table; of one with a column of seconds, its other columns."""
    import pandas as pd

    if b"seconds" not in content:
        return content
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    return frame.drop(columns=["seconds"]).to_csv(index=False).encode() if "seconds" in frame else content


def sample(
    jobs: Iterable[Job], number: int, folder: Path, seed: int = 0, say: Any = print, minutes: float = math.inf
) -> dict[str, Outcome]:
    """Kill jobs in turn until so many processes have been killed, or the time is over; return verb -> what happened."""
    end = time.monotonic() + 60 * minutes
    rng = random.Random(seed)
    jobs = list(jobs)
    known: dict[str, Known] = {}
    outcomes = {job.verb: Outcome() for job in jobs}
    order = _spread(jobs)
    turn = 0
    while sum(each.kills for each in outcomes.values()) < number and time.monotonic() < end:
        job = order[turn % len(order)]
        place = folder / job.name.replace(" ", "-")
        if job.name not in known:
            known[job.name] = uninterrupted(job, place)
            say(f"{job.name}: {known[job.name].seconds:.1f} s, {known[job.name].events} events on files")
        before = outcomes[job.verb].kills
        kill(job, known[job.name], place, rng, outcomes[job.verb])
        turn += 1
        if outcomes[job.verb].kills == before:
            continue
        total = sum(each.kills for each in outcomes.values())
        if total // 20 != (total - outcomes[job.verb].kills + before) // 20:
            say(f"{total} kills")
    return outcomes


def _spread(jobs: list[Job]) -> list[Job]:
    """The jobs in turn, with a verb of one job as often as a verb of several where that is possible."""
    runs, others = [j for j in jobs if j.verb == "run"], [j for j in jobs if j.verb != "run"]
    if not runs or not others:
        return jobs
    order: list[Job] = []
    for number, run in enumerate(runs):
        order += [run, others[number % len(others)]]
    return order
