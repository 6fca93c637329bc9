"""Report progress on stderr, with a line or a bar for each step; report nothing if the output is for a machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from culnig import stopping

Advance = Callable[[int], None]


class Reporter(Protocol):
    """Where long work reports its progress."""

    def say(self, text: str) -> None:
        """Print a line."""

    def step(self, name: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Advance]:
        """Begin a step of work; call the yielded function with the number of units just done."""
        ...


class Silent:
    """A reporter that prints nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Show nothing; stop between two calls if a signal has asked for it."""
        yield _advancing(lambda done: None)


class Terminal:
    """A reporter with progress bars on a terminal; if stderr is a file, with one line for each step."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(f"  {text}", style="dim", soft_wrap=True)

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Show a bar if the total is known, and a line with the time taken at the end."""
        begun = time.monotonic()
        if total is None or not self.console.is_terminal:
            yield _advancing(lambda done: None)
        else:
            with self._bar() as bar:
                task = bar.add_task(name, total=total)
                yield _advancing(lambda done: bar.advance(task, done))
        seconds = time.monotonic() - begun
        amount = f"{total:,} {unit}, " if total else ""
        self.console.print(f"[green]✓[/green] {name} [dim]({amount}{seconds:.1f} s)[/dim]")

    def _bar(self):  # type: ignore[no-untyped-def]  # rich's type, which is imported late
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )


def _advancing(show: Advance) -> Advance:
    """Return a function that shows what is done, and stops there if a signal has asked for it."""

    def advance(done: int) -> None:
        show(done)
        stopping.here()

    return advance


class Occasionally:
    """Calls a function at most once in the given number of seconds."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._seconds = seconds
        self._call = call
        self._last = time.monotonic()

    def __call__(self) -> None:
        """Call the function if enough time has passed."""
        if time.monotonic() - self._last >= self._seconds:
            self._call()
            self._last = time.monotonic()
