"""`python -m bench.thresholds`: thresholds compared on held-out topics of `neur` and on `general:dev`.

The quickstart's thresholds were chosen by this plan, after earlier choices had been seen on the test sets; see docs/results.md.

Leave one topic of `everyday:neur` out: find the neurons on the other two, suppress them, and measure the drop on the one
left out.  General ability is measured on half of the kinds of `general:dev`; the other half's scores remove neurons.
"""

from __future__ import annotations

import itertools

import numpy as np

import culnig
from culnig import Scores

SETTINGS = [
    (0.01, 0.0),
    (0.01, 0.01),
    (0.01, 0.05),
    (0.01, 0.1),
    (0.005, 0.0),
    (0.005, 0.01),
    (0.005, 0.05),
    (0.0025, 0.01),
]


def merged(a: Scores, b: Scores) -> Scores:
    """Sums are additive over items."""
    return Scores({key: a.sums[key] + b.sums[key] for key in a.sums}, a.count + b.count, a.groups, a.meta)


def main() -> None:
    lm = culnig.load_model("smollm2-135m")
    items = {part: culnig.load_items(f"everyday:{part}", draws=1) for part in ("neur", "ctrl")}
    topics = sorted({item.topic for item in items["neur"]})
    scores = {(p, t): culnig.score(lm, [i for i in items[p] if i.topic == t]) for p in items for t in topics}
    crc = culnig.score(lm, culnig.load_items("country_rc:neur"))
    dev = culnig.load_items("general:dev")
    kinds = sorted({item.topic for item in dev})
    halves = [[i for i in dev if i.topic in kinds[start::2]] for start in (0, 1)]
    removal = [culnig.score(lm, half) for half in halves]
    held = {topic: [i for i in items["neur"] if i.topic == topic][::2] for topic in topics}

    def measure(part):
        rows = culnig.evaluate(lm, part).rows
        return np.array([rows["correct"].mean(), rows["p_gold"].mean(), rows["log_odds"].mean()])

    before = {topic: measure(part) for topic, part in held.items()}, [measure(half) for half in halves]
    print("t_mlp  r_ability  neurons   culture: accuracy P(gold) log-odds   general: accuracy P(gold) log-odds")
    for t_mlp, r_ability in SETTINGS:
        rows = []
        for fold, topic in enumerate(topics):
            a, b = (t for t in topics if t != topic)
            neur, ctrl = (merged(scores[p, a], scores[p, b]) for p in ("neur", "ctrl"))
            half, other = itertools.islice(itertools.cycle((0, 1)), fold, fold + 2)
            general = removal[half] if r_ability else None
            chosen = culnig.select_general(neur, ctrl, crc, t_mlp=t_mlp, general=general, r_ability=r_ability)
            with culnig.suppress(lm, chosen):
                culture, plain = measure(held[topic]) - before[0][topic], measure(halves[other]) - before[1][other]
            rows.append([len(chosen), *culture, *plain])
        n, *changes = np.mean(rows, axis=0)
        print(f"{t_mlp:<6} {r_ability:<10} {n:7.0f}   " + "  ".join(f"{value:+.3f}" for value in changes), flush=True)


if __name__ == "__main__":
    main()
