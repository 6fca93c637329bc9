"""Run the command line in two processes of one job, many times, with or without a fault in one of them.

    python -m tests.helpers.pairs JOBS.json

JOBS.json lists jobs {"step": a step of STEPS or null, "args": arguments of culnig, "stem": path of the logs}.  The
answer to each job is printed as a line of JSON.  The processes are forked from one that has imported everything,
because imports take most of the time.  No torchrun watches them: as under SLURM, they have to end each other.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from culnig.errors import CulnigError

LIMIT = 60
"""Longest time in seconds that the other process may take to end after a failure."""
STEPS = {
    "claim the folder": (0, "culnig.run.claim", "_claim"),
    "load the model": (1, "culnig.run.pipeline", "load_model"),
    "score": (1, "culnig.attribution.accumulator", "run_pass"),
    "select": (0, "culnig.studies._culture_general_set", "select_general"),
    "calibrate": (1, "culnig.passes.calibration", "_measured"),
    "evaluate": (1, "culnig.passes.answers", "answer_logprobs"),
    "read text": (1, "culnig.evaluation.plain_text", "token_logprobs"),
    "measure": (1, "culnig.attribution.per_item", "score_items"),
    "tune": (1, "culnig.finetune.trainer", "AnswerTrainer.compute_loss"),
    "compare tuned rows": (0, "culnig.run.tuning", "row_changes"),
    "analyse": (0, "culnig.run.pipeline", "analyse"),
    "report": (0, "culnig.run.pipeline", "write_report"),
}
"""Step -> the process that fails, and the function that fails there."""


def place(step: str) -> tuple[object, str]:
    """Return the module or class that holds the step's function, and the function's name."""
    _, module, path = STEPS[step]
    owner = importlib.import_module(module)
    *inner, name = path.split(".")
    for attribute in inner:
        owner = getattr(owner, attribute)
    if not hasattr(owner, name):
        raise AttributeError(f"{module} has no {path}; correct STEPS")
    return owner, name


def fail_at(step: str, mark: Path) -> None:
    """Replace the step's function, in the process that is to fail, by one that writes `mark` and raises."""
    if int(os.environ["RANK"]) != STEPS[step][0]:
        return

    def broken(*args, **kwargs):
        mark.touch()
        raise CulnigError(f"broken on purpose at: {step}")

    setattr(*place(step), broken)


def worker(step: str | None, args: list[str], mark: Path) -> None:
    """Be one process of the job."""
    if step is not None:
        fail_at(step, mark)
    sys.argv = ["culnig", *args]
    from culnig.cli import main

    main()


def pair(step: str | None, args: list[str], stem: Path) -> dict[str, object]:
    """Run two processes to their ends; return exit codes, and the seconds from the fault to the end of both."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    mark, pids = stem.with_suffix(".fault"), []
    for rank in "01":
        sys.stdout.flush()
        if (pid := os.fork()) == 0:
            log = os.open(f"{stem}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            variables = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank, **variables}
            worker(step, args, mark)
            sys.exit(0)
        pids.append(pid)
    codes: dict[int, int] = {}
    while len(codes) < 2:
        for pid in [pid for pid in pids if pid not in codes]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
            elif mark.exists() and time.time() - mark.stat().st_mtime > LIMIT:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    seconds = time.time() - mark.stat().st_mtime if mark.exists() else None
    return {"codes": [codes[pid] for pid in pids], "seconds": seconds}


if __name__ == "__main__":
    import culnig.finetune.trainer
    import culnig.report
    import culnig.run.pipeline  # noqa: F401

    for each in STEPS:
        place(each)  # a name that has moved raises an error here, not in a process that the other one waits for
    for job in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps(pair(job["step"], job["args"], Path(job["stem"]))), flush=True)
