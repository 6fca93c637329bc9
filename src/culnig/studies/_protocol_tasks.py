"""Whether a fine-tuning's task and the test set that stands for it are of one benchmark."""

from __future__ import annotations

from culnig.data import BENCHMARKS, parse_name

TRAIN = "_train"
"""Ending of the names of benchmarks that hold another's train split."""


def same_task(task: str, test: str) -> bool:
    """Return whether items test what other items teach; files of the user's own are taken at their word.

    Args:
        task: the items trained on ("qnli_train", "blend:neur").
        test: the items of the role `task` ("qnli", "blend:test").
    """
    names = [parse_name(items).name for items in (task, test)]
    if not all(BENCHMARKS.find(name) for name in names):
        return True
    taught, tested = (name.removesuffix(TRAIN) for name in names)
    return taught == tested or tested.startswith(f"{taught}_")
