"""`python -m bench [--quick]`: the bars of docs/design.md, each measured in one run, printed as one table.

`--gpu` measures the shapes of the paper's six models on GPUs instead, and writes one JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench import gpu, passes, selecting
from bench.measure import best_of, peak_extra_bytes


def help_seconds() -> float:
    """Median seconds of `culnig --help`."""
    command = [sys.executable, "-m", "culnig", "--help"]
    return best_of(5, lambda: subprocess.run(command, capture_output=True, check=True))[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer items and repeats")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    gpu.add_options(parser)
    arguments = parser.parse_args()
    if arguments.gpu:
        sys.exit(gpu.run(arguments))
    repeats, items = (3, 24) if arguments.quick else (5, 64)

    import culnig

    begun = time.perf_counter()
    lm = culnig.load_model(arguments.model)
    load_seconds = time.perf_counter() - begun
    work = passes.Workload(lm, items)
    # The same kernels on both sides: PyTorch's own (MKL), then oneDNN's, which is what culnig uses where it can.
    os.environ["CULNIG_ONEDNN"] = "0"
    stock_forward, stock_scoring = best_of(repeats, work.forward, work.score)
    os.environ["CULNIG_ONEDNN"] = "1"
    forward, training, scoring, plain, masked, packed, unpacked = best_of(
        repeats,
        work.forward,
        work.train,
        work.score,
        work.evaluate,
        work.evaluate_suppressed,
        work.cf_packed,
        work.cf_unpacked,
    )
    uncalibrated, pmi, contrast = best_of(repeats, work.evaluate_questions, work.offsets_pmi, work.offsets_contrast)
    (scored,) = best_of(repeats, work.score_questions)
    extra = peak_extra_bytes(work.score, lm.device) / peak_extra_bytes(work.train, lm.device)
    select, sweep = selecting.seconds()
    rows = [
        ("scoring / plain no-grad forward, same tokens, PyTorch's kernels", stock_scoring / stock_forward, "<= 2.3"),
        ("the same with oneDNN's kernels on both sides", scoring / forward, ""),
        ("scoring with oneDNN / plain forward with PyTorch's kernels", scoring / stock_forward, ""),
        ("forward + backward, frozen weights / plain no-grad forward, oneDNN", training / forward, ""),
        ("extra memory of scoring / forward + backward, frozen weights", extra, "<= 1.1"),
        ("calibration pmi, once / evaluation of a set", pmi / uncalibrated, "<= 0.25"),
        ("calibration pmi, once / scoring of a set", pmi / scored, "<= 0.25"),
        ("calibration contrast, once / evaluation of a set", contrast / uncalibrated, ""),
        ("calibration contrast, once / scoring of a set", contrast / scored, ""),
        ("suppressed / plain evaluation", masked / plain, "<= 1.02"),
        ("CF: prompt tokens computed, packed / one sequence an option", work.prompt_token_ratio(), "= 1 / options"),
        ("CF: time packed / one sequence an option", packed / unpacked, ""),
        ("selection, 1.2 M neurons x 16 countries, s", select, "< 2"),
        ("sweep of 100 settings, s", sweep, "< 20"),
        ("culnig --help, s", help_seconds(), "< 0.5"),
        ("load the cached model, s", load_seconds, "< 5"),
    ]
    print(f"{lm.name}, {work.tokens:,} tokens in {items} items, {os.cpu_count()} cores, {platform.machine()}")
    for name, value, bar in rows:
        print(f"{name:<66} {value:8.3f}   {bar}")
    print(f"{'(forward: tokens a second)':<66} {work.tokens / forward:8.0f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({name: float(np.float64(value)) for name, value, _ in rows}, indent=1))


if __name__ == "__main__":
    main()
