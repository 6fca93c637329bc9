"""Run the command line in one of several processes, where one process fails at a step: python -m tests.helpers.faulty STEP ..."""

from __future__ import annotations

import importlib
import os
import sys

from culnig.errors import CulnigError

STEPS = {
    "claim the folder": (0, "culnig.run.pipeline", "_claim_folder"),
    "load the model": (1, "culnig.run.pipeline", "load_model"),
    "score": (1, "culnig.attribution.scoring", "run_pass"),
    "select": (0, "culnig.studies.general", "select_general"),
    "evaluate": (1, "culnig.evaluation.multiple_choice", "answer_logprobs"),
    "read text": (1, "culnig.evaluation.plain_text", "_token_logprobs"),
    "measure": (1, "culnig.attribution.per_item", "score_items"),
    "tune": (1, "culnig.finetune.trainer", "AnswerTrainer.compute_loss"),
    "compare tuned rows": (0, "culnig.run.tuning", "row_changes"),
    "analyse": (0, "culnig.run.pipeline", "analyse"),
    "report": (0, "culnig.run.pipeline", "write_report"),
}
"""Step -> the process that fails, and the function that fails there."""


def fail_at(step: str) -> None:
    """Replace the step's function by one that raises, in the process that is to fail."""
    rank, module, path = STEPS[step]
    if int(os.environ["RANK"]) != rank:
        return

    def broken(*args, **kwargs):
        raise CulnigError(f"broken on purpose at: {step}")

    owner = importlib.import_module(module)
    *inner, name = path.split(".")
    for attribute in inner:
        owner = getattr(owner, attribute)
    if not hasattr(owner, name):
        raise AttributeError(f"{module} has no {path}; correct STEPS")
    setattr(owner, name, broken)


if __name__ == "__main__":
    fail_at(sys.argv[1])
    sys.argv = ["culnig", *sys.argv[2:]]
    from culnig.cli import main

    main()
