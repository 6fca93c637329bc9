"""Stop in good order when a scheduler asks for it: SIGTERM and SIGUSR1 as SLURM sends them before the time limit.

A signal sets a flag.  Long work calls `here` between two parts of it, after keeping its progress, and `here` raises
`Stopped`.  Work that does not come to such a place within `GRACE` seconds is stopped where it is; files are renamed
only when they are complete, so nothing is damaged by that.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: nothing is wrong, try again.  A job script requeues on it (docs/tutorials/cluster.md)."""
GRACE = 20.0
"""Seconds until work that has reached no good place is stopped; SLURM kills 30 seconds after SIGTERM (KillWait)."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Stopped(BaseException):
    """The work was asked to stop; what it has done is kept.  No `except Exception` may swallow it."""

    exit_code = EXIT_CODE


class _State:
    asked = ""
    deferred = 0


def requested() -> bool:
    """Return whether a signal has asked this process to stop."""
    return bool(_State.asked)


def here() -> None:
    """Stop now if a signal has asked for it; call this where all progress is kept.

    Raises:
        Stopped: it has.
    """
    if _State.asked and not _State.deferred:
        raise Stopped(_State.asked)


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block `here` does nothing."""
    _State.deferred += 1
    try:
        yield
    finally:
        _State.deferred -= 1


@contextmanager
def on_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGUSR1 ask for a stop; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[Any, Any] = {each: signal.signal(each, _ask) for each in SIGNALS}
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)
        _State.asked = ""


def _ask(number: int, frame: FrameType | None) -> None:
    """Take note of a signal; a second one stops at once."""
    again, _State.asked = _State.asked, signal.Signals(number).name
    if again:
        raise Stopped(_State.asked)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, GRACE)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(_State.asked)
