"""`python -m bench.bfloat`: bfloat16 against float32 on this machine: the time, and what it changes in answers and scores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch

import culnig
from bench.floor import NEUR, TEST
from bench.measure import best_of
from culnig.evaluation import EvalResult


def changes(wide: EvalResult, narrow: EvalResult) -> dict[str, float]:
    """Return what another dtype changes in the rows of an evaluation: log-probabilities in nats, predictions, accuracy."""
    pairs = zip(wide.rows["option_logprobs"], narrow.rows["option_logprobs"], strict=True)
    apart = np.concatenate([np.abs(np.array(a) - np.array(b)) for a, b in pairs])
    other = (wide.rows["prediction"].to_numpy() != narrow.rows["prediction"].to_numpy()).mean()
    return {
        "log P of an option, median change, nats": float(np.median(apart)),
        "log P of an option, largest change, nats": float(apart.max()),
        "predictions that change, share": float(other),
        "accuracy, change": narrow.accuracy - wide.accuracy,
    }


def overlap(wide: culnig.Scores, narrow: culnig.Scores, share: float = 0.01) -> float:
    """Return the share of the neurons with the largest scores of all modules that two score files have in common."""
    chosen = []
    for scores in (wide, narrow):
        flat = np.concatenate([scores.total(module).ravel() for module in scores.meta["modules"]])
        chosen.append(set(np.argsort(-flat)[: max(1, int(share * len(flat)))].tolist()))
    return len(chosen[0] & chosen[1]) / len(chosen[0])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bfloat", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--part", type=int, default=16, help="take every n-th item; 1 is all")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    neur, test = (data.load(0)[:: given.part] for data in (NEUR, TEST))
    models = [culnig.load_model(given.model, dtype=dtype) for dtype in ("float32", "bfloat16")]
    results = [culnig.evaluate(lm, test) for lm in models]  # offsets too, which are not timed
    scores = [culnig.score(lm, neur) for lm in models]
    times = best_of(
        given.repeats,
        *(lambda lm=lm: culnig.evaluate(lm, test) for lm in models),
        *(lambda lm=lm: culnig.score(lm, neur) for lm in models),
    )
    native = "has" if getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() else "lacks"
    print(
        f"{given.model}, {torch.get_num_threads()} threads; the processor {native} products of bfloat16 (AVX512_BF16)"
    )
    print(f"{'':<42}{'float32':>10}{'bfloat16':>10}")
    for name, (a, b) in {"evaluation, s": times[:2], "scoring, s": times[2:]}.items():
        print(f"{name:<42}{a:10.2f}{b:10.2f}")
    for name, value in changes(*results).items():
        print(f"{name:<42}{value:20.4f}")
    print(f"{'top 1 % of neurons in common':<42}{overlap(*scores):20.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
