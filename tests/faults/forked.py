"""Run the command line in forked processes, and kill them.

The parent has imported everything once, so that a process starts in milliseconds.  Each child is a process of its own:
SIGKILL ends it as it would end any.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
"""Audit events that touch files; a process can be killed at each of them."""


class Ended(NamedTuple):
    """How a process ended: exit code, negative for a signal; its stdout and stderr; seconds; events on its files."""

    code: int
    said: str
    seconds: float
    events: int


def warm_up() -> None:
    """Import what the verbs import, so that children need not."""
    import datasets
    import filelock
    import peft
    import plotly.offline
    import rich.progress
    import safetensors.torch
    import statsmodels.api
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, Trainer

    import culnig.cli
    import culnig.finetune.trainer
    import culnig.run.pipeline
    import culnig.studies.fidelity

    _ = (culnig, datasets, filelock, peft, plotly, safetensors, AutoModelForCausalLM, AutoTokenizer)
    _ = (LlamaForCausalLM, Trainer, rich, statsmodels)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # else each collection in a child goes through all of this again


def start(args: Sequence[str], log: Path, prepare: Callable[[], None] | None = None) -> int:
    """Start `culnig ARGS` in a forked process; return its number.

    Args:
        args: the command line.
        log: file of what it says.
        prepare: called in the child before the command, to break something.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    child = os.fork()
    if child:
        os.close(target)
        return child
    code = 70
    try:
        for stream in (1, 2):
            os.dup2(target, stream)
        os.environ["NO_COLOR"] = "1"
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.argv = ["culnig", *args]
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(each, signal.SIG_DFL if each != signal.SIGINT else signal.default_int_handler)
        if prepare:
            prepare()
        from culnig.cli import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):  # an error here would go on as a second parent
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def finish(args: Sequence[str], log: Path | None = None, prepare: Callable[[], None] | None = None) -> Ended:
    """Run `culnig ARGS` to its end.

    Raises:
        AssertionError: no log is given, and the command failed.
    """
    begun = time.monotonic()
    where = log or Path(f"/tmp/culnig-fault-{os.getpid()}.log")
    child = start(args, where, prepare)
    _, status = os.waitpid(child, 0)
    if prepare:
        time.sleep(0.05)  # what hands on the child's lines may be a moment later
    said = where.read_text(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    if log is None:
        where.unlink()
        assert code == 0, f"{' '.join(args)}: exit code {code}\n{said}"
    return Ended(code, said, time.monotonic() - begun, 0)


def kill_after(args: Sequence[str], log: Path, seconds: float, number: int = signal.SIGKILL) -> Ended:
    """Start `culnig ARGS`, send it a signal after some time, and wait for its end."""
    begun = time.monotonic()
    child = start(args, log)
    while time.monotonic() - begun < seconds:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            break
        time.sleep(min(0.01, max(0.0, begun + seconds - time.monotonic())))
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    ended = time.monotonic() - begun
    return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"), ended, 0)


def count_events(args: Sequence[str], log: Path, folder: Path) -> Ended:
    """Run `culnig ARGS` to its end, and count its events on files below a folder."""
    tally = folder.parent / f"{folder.name}.events"

    def prepare() -> None:
        at_event(folder, -1, tally)

    ended = finish(args, log, prepare)
    found = int(tally.read_text() or 0) if tally.exists() else 0
    tally.unlink(missing_ok=True)
    return ended._replace(events=found)


def kill_at_event(args: Sequence[str], log: Path, folder: Path, number: int) -> Ended:
    """Start `culnig ARGS`, which kills itself at its n-th event on files below a folder."""
    return finish(args, log, lambda: at_event(folder, number, None))


def at_event(folder: Path, number: int, tally: Path | None) -> None:
    """Count this process's events on files below a folder from now on; kill it at the given one."""
    root, seen = str(folder), [0]
    handle = os.open(tally, os.O_WRONLY | os.O_CREAT) if tally else -1

    def hook(event: str, details: tuple[object, ...]) -> None:
        if event not in EVENTS or not details or not isinstance(details[0], str | bytes | os.PathLike):
            return
        if event == "open" and not _writes(details):
            return
        if os.fsdecode(details[0]).startswith(root):
            seen[0] += 1
            if handle >= 0:
                os.pwrite(handle, str(seen[0]).encode(), 0)
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _writes(details: tuple[object, ...]) -> bool:
    mode, flags = (*details, None, None)[1:3]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
