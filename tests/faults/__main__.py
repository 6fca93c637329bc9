"""`python -m tests.faults [kills] [--seed S] [--only VERB]`: the whole of the faults, with counts as tables."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import disk, forked, jobs, kills


def main() -> int:
    """Run the faults; return 1 if something did not survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end the kills after so long")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    begun = time.monotonic()
    forked.warm_up()
    with tempfile.TemporaryDirectory(prefix="culnig-faults-") as scratch:
        folder = Path(scratch)
        made = [job for job in jobs.make(folder / "inputs") if asked.only in job.name]
        bad = False
        if asked.rounds:
            struck = disk.sample(_few_runs(made), asked.rounds, folder / "disk", asked.seed)
            bad |= _disk_table(struck)
        if asked.kills:
            bad |= _table(kills.sample(made, asked.kills, folder / "kills", asked.seed, minutes=asked.minutes))
    print(f"{time.monotonic() - begun:.0f} s, seed {asked.seed}")
    return int(bad)


def _table(outcomes: dict[str, kills.Outcome]) -> bool:
    print(f"\n{'kill -9 of':<16}{'kills':>7}{'by time':>9}{'at files':>10}{'differ':>8}{'left':>6}{'failed':>8}")
    for verb, each in outcomes.items():
        counts = (each.moments["at a random time"], each.moments["at a file event"])
        problems = (len(each.differing), len(each.left), len(each.failed))
        print(f"{verb:<16}{each.kills:>7}{counts[0]:>9}{counts[1]:>10}{problems[0]:>8}{problems[1]:>6}{problems[2]:>8}")
    every = list(outcomes.values())
    print(f"{'all':<16}{sum(each.kills for each in every):>7}")
    problems = [line for each in every for line in (*each.differing, *each.left, *each.failed)]
    for line in problems:
        print(f"  {line}")
    return bool(problems)


def _few_runs(made: list[jobs.Job]) -> list[jobs.Job]:
    """All verbs, and three of the runs: they write through the same functions."""
    few = {"run culture_general", "run finetune", "run instance"}
    return [job for job in made if job.verb != "run" or job.name in few]


def _disk_table(outcomes: dict[tuple[str, str], disk.Survived]) -> bool:
    verbs = list(dict.fromkeys(verb for _, verb in outcomes))
    faults = list(dict.fromkeys(fault for fault, _ in outcomes))
    print("\nsurvived of struck; a fault that came too late to matter is not counted")
    print(f"{'':<16}" + "".join(f"{verb:>16}" for verb in verbs))
    for fault in faults:
        cells = [outcomes[fault, verb] for verb in verbs]
        print(f"{fault:<16}" + "".join(f"{f'{max(0, c.struck - len(c.wrong))} of {c.struck}':>16}" for c in cells))
    problems = [line for each in outcomes.values() for line in each.wrong]
    for line in problems:
        print(f"  {line}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
