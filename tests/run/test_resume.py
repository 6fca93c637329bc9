"""Scoring that is killed, shared out, or run by several processes gives the same scores."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import culnig
from culnig import Scores, merge_scores
from culnig.attribution.checkpoint import checkpoint_of
from culnig.errors import UsageError
from culnig.prompts import PromptPolicy
from tests.helpers.tolerances import additions_through, float32_tolerance, score_tolerance

OFF = PromptPolicy(chat_template="off")


def score_command(model, items, out, *more):
    args = ["score", "--model", model, "--items", items, "--out", out, "--chat-template", "off", "--formulation", "mcf"]
    return [sys.executable, "-m", "culnig", *map(str, [*args, *more])]


class Stop(Exception):
    pass


def test_interrupted_anywhere_same_bytes(tiny, reference_files, tmp_path):
    """Stopped after every possible number of batches, in one process: the finished file is the same to the byte."""
    items = culnig.read_items(reference_files["blend"])
    options = {"policy": OFF, "token_budget": 200, "checkpoint_minutes": 0}
    culnig.score(tiny, items, **options).save(tmp_path / "whole.safetensors")
    expected = (tmp_path / "whole.safetensors").read_bytes()
    for stop_after in (1, 2, 5, 8):
        saved = tmp_path / f"progress-{stop_after}"
        calls = []

        def progress(done, calls=calls, stop_after=stop_after):
            calls.append(done)
            if len(calls) == stop_after:
                raise Stop

        with pytest.raises(Stop):
            culnig.score(tiny, items, checkpoint=saved, progress=progress, **options)
        resumed = []
        scores = culnig.score(tiny, items, checkpoint=saved, progress=resumed.append, **options)
        assert resumed[0] == sum(calls) and sum(resumed) == len(items)
        scores.save(tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == expected


def test_foreign_or_damaged_progress_is_not_used(tiny, reference_files, tmp_path):
    items = culnig.read_items(reference_files["blend"])
    saved = tmp_path / "progress"
    options = {"policy": OFF, "token_budget": 200, "checkpoint_minutes": 0, "checkpoint": saved}
    expected = culnig.score(tiny, items, policy=OFF, token_budget=200)
    culnig.score(tiny, items[:40], **options)
    foreign = saved.read_bytes()
    calls = []
    culnig.score(tiny, items, progress=calls.append, **options)
    assert sum(calls) == len(items) and saved.read_bytes() != foreign
    damaged = bytearray(saved.read_bytes())
    damaged[-9] ^= 1
    saved.write_bytes(damaged)
    again = culnig.score(tiny, items, **options)
    for key, sums in expected.sums.items():
        np.testing.assert_array_equal(again.sums[key], sums)


@pytest.mark.slow
def test_killed_at_random_moments(reference_dir, reference_files, tmp_path):
    """kill -9 at 20 random moments of a real process, each time finished by the same command: identical bytes."""
    whole = tmp_path / "whole.safetensors"
    more = ("--token-budget", 60, "--checkpoint-minutes", 0)
    started = time.monotonic()
    subprocess.run(
        score_command(reference_dir, reference_files["blend"], whole, *more), check=True, capture_output=True
    )
    duration = time.monotonic() - started
    rng = random.Random(0)
    out = tmp_path / "killed.safetensors"
    command = score_command(reference_dir, reference_files["blend"], out, *more)
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 1.0) * duration)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not out.exists():
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        assert out.read_bytes() == whole.read_bytes()
        out.unlink()
    assert not checkpoint_of(out).exists()


def test_three_shards_merge_to_the_whole(reference_dir, reference_files, tmp_path, tiny):
    items = culnig.read_items(reference_files["blend"])
    whole = culnig.score(tiny, items, policy=OFF)
    shards = [culnig.score(tiny, items, policy=OFF, shard=(i, 3)) for i in (1, 2, 3)]
    merged = merge_scores([shards[2], shards[0], shards[1]])
    np.testing.assert_array_equal(merged.count, whole.count)
    for key, sums in whole.sums.items():
        # Shards make other batches, and other batches add in other orders.
        np.testing.assert_allclose(merged.sums[key], sums, rtol=0, atol=score_tolerance(tiny, sums))
    for wrong, message in (
        (shards[:2], "missing: 3/3"),
        ([*shards, shards[0]], "there twice"),
        ([whole], "not a shard"),
        ([*shards[:2], culnig.score(tiny, items[:50], policy=OFF, shard=(3, 3))], "another job"),
        ([], "no shards"),
    ):
        with pytest.raises(UsageError, match=message):
            merge_scores(wrong)
    with pytest.raises(UsageError, match="1 <= i <= n"):
        culnig.score(tiny, items, policy=OFF, shard=(4, 3))


def test_shards_on_the_command_line(reference_dir, reference_files, tmp_path, tiny):
    from typer.testing import CliRunner

    from culnig.cli._app import app

    paths = [tmp_path / f"{i}.safetensors" for i in (1, 2, 3)]
    for i, path in enumerate(paths, start=1):
        args = score_command(reference_dir, reference_files["countryrc"], path, "--shard", f"{i}/3")[3:]
        assert CliRunner().invoke(app, args, catch_exceptions=False).exit_code == 0
    merged = tmp_path / "merged.safetensors"
    assert (
        CliRunner().invoke(app, ["merge", *map(str, paths), "--out", str(merged)], catch_exceptions=False).exit_code
        == 0
    )
    whole = culnig.score(tiny, culnig.read_items(reference_files["countryrc"]), policy=OFF)
    loaded = Scores.load(merged)
    for key, sums in whole.sums.items():
        # Shards make other batches, and other batches add in other orders.
        np.testing.assert_allclose(loaded.sums[key], sums, rtol=0, atol=score_tolerance(tiny, sums))


@pytest.mark.distributed
def test_two_gloo_processes(reference_dir, reference_files, tmp_path, tiny):
    """torchrun with two processes on the CPU: the single process's scores and neurons."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("blend", "blendcontrol", "countryrc"):
        inner = score_command(reference_dir, reference_files[name], tmp_path / f"{name}.safetensors")[3:]
        launch = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "culnig",
        ]
        done = subprocess.run([*launch, *inner], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    both = [Scores.load(tmp_path / f"{name}.safetensors") for name in ("blend", "blendcontrol", "countryrc")]
    single = [
        culnig.score(tiny, culnig.read_items(reference_files[n]), policy=OFF)
        for n in ("blend", "blendcontrol", "countryrc")
    ]
    for a, b in zip(both, single, strict=True):
        np.testing.assert_array_equal(a.count, b.count)
        for key, sums in b.sums.items():
            # Two processes add in another order than one.
            np.testing.assert_allclose(a.sums[key], sums, rtol=0, atol=score_tolerance(tiny, sums))
    assert list(culnig.select_general(*both, preset="paper")) == list(culnig.select_general(*single, preset="paper"))


@pytest.mark.distributed
def test_two_processes_run_the_pipeline(tmp_path, reference_dir, tiny):
    """The whole run under torchrun: one process writes, and the figures are a single process's; a shared model's, too."""
    from tests.helpers.configs import write_config

    command = ["run", write_config(tmp_path, reference_dir), "--out"]
    single, double, sharded = (tmp_path / name for name in ("single", "double", "sharded"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "culnig", *command, single], check=True, capture_output=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "culnig"]
    for options in ([double], [sharded, "--set", "model.device_map=fsdp"]):
        done = subprocess.run(
            [*launch, *command, *options], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
    from culnig.evaluation import EvalResult, TextResult

    outputs = additions_through(tiny, passes=1)
    found = sorted((single / "evals").rglob("*.parquet"))
    assert {path.parent.name for path in found} >= {"plain-text", "test"}
    for path in found:
        reading = path.parent.name == "plain-text"
        kind, by, value = (TextResult, "paragraph", "logprob") if reading else (EvalResult, "id", "p_gold")
        a, b, c = (kind.load(root / path.relative_to(single)).rows for root in (single, double, sharded))
        assert list(a[by]) == list(b[by])
        # A log-probability errs by the rounding of its logits, a probability by at most as much.
        largest = np.abs(b["logprob"] if reading else np.concatenate(b["option_logprobs"])).max()
        np.testing.assert_allclose(a[value], b[value], rtol=0, atol=float32_tolerance(outputs, largest))
        assert c.equals(b)  # the same processes, the same batches


@pytest.mark.distributed
def test_a_sharded_model_is_searched(tmp_path, reference_dir):
    """The guarded search under torchrun: its passes keep in step, and it chooses the neurons that it chooses otherwise."""
    from tests.helpers.configs import write_guarded_config

    config = write_guarded_config(tmp_path, reference_dir, {"studies": ["guarded"]})
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "culnig"]
    found = []
    fsdp = ("--set", "model.device_map=fsdp", "--set", f"compute.scores_from={tmp_path / 'copies'}")
    for folder, options in ((tmp_path / "copies", ()), (tmp_path / "sharded", fsdp)):
        done = subprocess.run(
            [*launch, "run", config, "--out", folder, *options],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(culnig.NeuronSet.load(folder / "neurons" / "guarded.json"))
    assert len(found[0]) > 0 and found[0] == found[1]
