"""A sample of `make faults`: kills, disks, signals, several writers."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from culnig.stopping import EXIT_CODE
from tests.faults import disk, forked, kills

pytestmark = pytest.mark.slow
VERBS = ("score", "answer", "finetune", "merge", "export", "select guarded", "run instance")


def test_every_study_is_killed_or_named():
    from culnig.studies import STUDIES
    from tests.faults.jobs import NEEDS_MORE
    from tests.faults.jobs import STUDIES as HERE

    assert set(STUDIES.names()) == {*HERE, *NEEDS_MORE} and not set(HERE) & set(NEEDS_MORE)


def test_killed_at_random_moments(made, tmp_path):
    """One or two kills of every verb; `make faults` makes 200."""
    outcomes = kills.sample([made[name] for name in VERBS], 8, tmp_path, seed=3, say=lambda line: None)
    assert sum(each.kills for each in outcomes.values()) >= 8
    for each in outcomes.values():
        assert not each.differing + each.left + each.failed


@pytest.mark.parametrize("fault", disk.FAULTS)
def test_faults_of_disks(fault, made, tmp_path):
    """The last good file stays, there is one line, exit code 1, and going on afterwards gives the same bytes."""
    if fault in disk.MOUNTS and not disk.can_mount():
        pytest.skip("no filesystem can be mounted here")
    rng = random.Random(1)
    for name in ("score", "finetune"):
        known = kills.uninterrupted(made[name], tmp_path / name)
        outcome = disk.Survived()
        for _ in range(3):
            if not outcome.struck:
                disk.strike(fault, made[name], known, tmp_path / name, rng, outcome)
        assert not outcome.wrong, outcome.wrong
        assert outcome.struck or fault == "folder vanishes"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("name", ["finetune", "run culture_general"])
def test_signals_of_a_scheduler(number, name, made, tmp_path):
    """A signal before the time limit: progress is kept, exit code 75, and the same command goes on to the same bytes."""
    job = made[name]
    known = kills.uninterrupted(job, tmp_path / "a")
    place = tmp_path / "a" / "whole"
    stopped = 0
    for share in (0.2, 0.4, 0.6, 0.8):
        if stopped:
            break
        place.mkdir(parents=True, exist_ok=True)
        ended = forked.kill_after(job.command(place), tmp_path / "log", share * known.seconds, number)
        if ended.code == EXIT_CODE:
            stopped += 1
            assert f"culnig: stopped by {number.name}; what is done is kept" in ended.said
            assert "Traceback" not in ended.said
            assert not [n for n in disk.tree_names(place) if n.endswith(".part")]
        else:
            assert ended.code in (0, -number)  # it was done, or had not begun
    assert stopped
    assert forked.finish(job.command(place), tmp_path / "log").code == 0
    assert kills.tree(place) == known.files


def test_scoring_goes_on_from_the_signal(made, tmp_path):
    """With checkpoints an hour apart, the signal itself makes one."""
    known = kills.uninterrupted(made["score"], tmp_path / "a")
    args = [word if word != "0" else "60" for word in made["score"].command(tmp_path)]
    low, high = 0.0, known.seconds  # no run takes as long as the one before, so the moment is searched for
    for _ in range(20):
        moment = (low + high) / 2
        ended = forked.kill_after(args, tmp_path / "log", moment, signal.SIGUSR1)
        if ended.code == EXIT_CODE and (tmp_path / ".s.safetensors.progress").is_file():
            break
        low, high = (0.9 * low, moment) if ended.code == 0 else (moment, max(high, 1.1 * moment))
        (tmp_path / "s.safetensors").unlink(missing_ok=True)
    assert (tmp_path / ".s.safetensors.progress").is_file(), ended


def test_two_writers_of_one_folder(made, tmp_path):
    """Two runs in one folder: one works, the other says in one line that it is in use, or finds it finished."""
    job = made["run culture_general"]
    known = kills.uninterrupted(job, tmp_path / "a")
    place = tmp_path / "a" / "whole"
    place.mkdir()
    children = [forked.start(job.command(place), tmp_path / f"log-{i}") for i in range(3)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    said = [(tmp_path / f"log-{i}").read_text() for i in range(3)]
    assert 0 in codes and set(codes) <= {0, 2}
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or ("is in use by another run" in text and "Traceback" not in text)
    assert kills.tree(place) == known.files


def test_two_writers_of_one_file(made, tmp_path):
    """Commands that write the same file at the same time: a whole file of one of them, and nothing besides."""
    for name in ("score", "merge", "eval"):
        job = made[name]
        known = kills.uninterrupted(job, tmp_path / name)
        place = tmp_path / name / "whole"
        place.mkdir()
        children = [forked.start(job.command(place), tmp_path / f"log-{i}") for i in range(3)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0, 0, 0], [(tmp_path / f"log-{i}").read_text() for i in range(3)]
        assert kills.tree(place) == known.files


def test_the_lock_of_a_dead_process(made, tmp_path):
    """A run that was killed holds its lock no longer, and leaves no folder that cannot be used."""
    job = made["run culture_general"]
    place = tmp_path / "place"
    place.mkdir()
    child = forked.start(job.command(place), tmp_path / "log")
    while not (place / "run" / ".lock").exists():
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (place / "run" / ".lock").exists()
    assert forked.finish(job.command(place), tmp_path / "log").code == 0
