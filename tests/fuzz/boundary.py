"""Run the command line in this process, through the boundary that turns errors into one line, and count outcomes."""

from __future__ import annotations

import contextlib
import io
import resource
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock


@dataclass
class Case:
    """What became of one input: exit code (None: an exception came through), what was printed, the exception's trace."""

    code: int | None
    out: str
    err: str
    trace: str = ""

    @property
    def outcome(self) -> str:
        if self.code is None:
            return "traceback"
        if self.code not in (0, 1, 2):
            return "other code"
        clear = "culnig:" in self.err or "Error" in self.err or "Usage" in self.err + self.out or self.out.strip()
        if self.code and not clear:
            return "no message"
        return {0: "accepted", 1: "exit code 1", 2: "exit code 2"}[self.code]


@dataclass
class Tally:
    """Counts by kind and outcome, and the first inputs of each bad one."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def add(self, kind: str, case: Case, what: Any) -> None:
        """Count a case."""
        self.counts.setdefault(kind, Counter())[case.outcome] += 1
        if case.outcome in ("traceback", "other code", "no message"):
            self.found(kind, f"{case.outcome} (exit code {case.code}): {what}", case.trace or case.err)

    def found(self, kind: str, what: str, trace: str) -> None:
        """Keep something bad; of one kind of trace, the first."""
        lines = trace.strip().splitlines()
        frames = [line for line in lines if line.lstrip().startswith("File ")]
        name = f"{frames[-1] if frames else what[:60]} {lines[-1].partition(':')[0] if lines else ''}"
        if name not in self.seen:
            self.seen.add(name)
            self.bad.append(f"{kind}: {what[:600]}\n{trace[-1800:]}")

    def drop(self, kind: str, what: str) -> None:
        """Count rows that went without a word."""
        self.counts.setdefault(kind, Counter())["silent drop"] += 1
        self.found(kind, what, what)

    @property
    def total(self) -> int:
        return sum(sum(each.values()) for each in self.counts.values())


def culnig(*args: str | Path) -> Case:
    """Run `culnig ARGS`."""
    from culnig.cli import _app, main

    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    before = sys.argv
    sys.argv = ["culnig", *map(str, args)]
    code: int | None = 0
    trace = ""
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(streams[0]))
            stack.enter_context(contextlib.redirect_stderr(streams[1]))
            stack.enter_context(mock.patch.object(_app, "app", _parser()))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        code, trace = None, "".join(traceback.format_exception(error))
    finally:
        sys.argv = before
    out, err = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in streams)  # type: ignore[attr-defined]
    return Case(code, out, err, trace)


@cache
def _parser() -> Any:
    """Make the parser of the command line once: `typer.Typer` makes the same one anew at each call."""
    from typer.main import get_command

    from culnig.cli import _app

    return get_command(_app.app)


def called(function: Any, *args: Any) -> tuple[Case, Any]:
    """Call a function as the command line does; return the case, and what it returned."""
    from culnig.errors import CulnigError

    try:
        return Case(0, "", ""), function(*args)
    except CulnigError as error:
        return Case(error.exit_code, "", f"culnig: {error}"), None
    except Exception as error:
        return Case(None, "", "", "".join(traceback.format_exception(error))), None


def peak() -> float:
    """Return the largest memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(tally: Tally, kinds: Sequence[str]) -> str:
    """Return the counts as text."""
    columns = ("accepted", "exit code 1", "exit code 2", "traceback", "silent drop", "other code", "no message")
    lines = [f"{'kind':<26}{'cases':>7}" + "".join(f"{column:>13}" for column in columns)]
    for kind in kinds:
        counts = tally.counts.get(kind, Counter())
        lines.append(f"{kind:<26}{sum(counts.values()):>7}" + "".join(f"{counts[c]:>13}" for c in columns))
    totals: Counter[str] = sum((tally.counts.get(kind, Counter()) for kind in kinds), Counter())
    lines.append(f"{'all':<26}{sum(totals.values()):>7}" + "".join(f"{totals[c]:>13}" for c in columns))
    return "\n".join(lines)
