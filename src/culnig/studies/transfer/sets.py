"""What neurons are found on: the benchmarks of the study, the names of their sets, and their own test sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from culnig.data import DataConfig, parse_name
from culnig.errors import UsageError
from culnig.settings import Settings
from culnig.studies._culture_general_set import CULTURE_GENERAL
from culnig.studies._found_on import FoundOn, check_distinct, set_name

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "transfer"
OWN = "the run's own"
"""Label of the run's own set where it was found on none of the benchmarks."""


class TransferFrom(FoundOn):
    """A benchmark that a set is found on, and which test set is its own."""

    test: str | None = Field(
        None, description="its own test set, as the run's `test` names it; null: the one of the same benchmark"
    )


def _benchmarks() -> dict[str, TransferFrom]:
    """Our own questions and two benchmarks of others that have parts to find neurons on."""
    return {
        name: TransferFrom(
            neur=DataConfig(items=f"{name}:neur", draws=draws), ctrl=DataConfig(items=f"{name}:ctrl", draws=draws)
        )
        for name, draws in (("everyday", None), ("blend_built", 1), ("culturalbench", None))
    }


class TransferSettings(Settings):
    """Study `transfer`: the benchmarks that sets are found on.  They are tested on all culture test sets of the run."""

    benchmarks: dict[str, TransferFrom] = Field(default_factory=_benchmarks, min_length=1)
    random_controls: int = Field(2, ge=1, le=1000, description="matched random sets of each set")

    @field_validator("benchmarks")
    @classmethod
    def _distinct(cls, benchmarks: dict[str, TransferFrom]) -> dict[str, TransferFrom]:
        check_distinct(benchmarks)
        if OWN in benchmarks:
            raise ValueError(f"'{OWN}' is what the run's own set is called; rename the benchmark")
        return benchmarks


def sets(config: RunSettings) -> dict[str, str]:
    """Benchmark -> the name of its set.  What the run itself finds neurons on has the run's culture-general set."""
    benchmarks, others = config.section(TransferSettings).benchmarks, further(config)
    found = {name: set_name(NAME, name) if name in others else CULTURE_GENERAL for name in benchmarks}
    return found if CULTURE_GENERAL in found.values() else {OWN: CULTURE_GENERAL, **found}


def further(config: RunSettings) -> dict[str, TransferFrom]:
    """The benchmarks that the run does not find its own set on."""
    own = config.identify.neur, config.identify.ctrl
    benchmarks = config.section(TransferSettings).benchmarks
    return {name: found for name, found in benchmarks.items() if (found.neur, found.ctrl) != own}


def random_names(name: str, config: RunSettings) -> list[str]:
    """Names of a set's random controls; those of the run's own set are the study `culture_general`'s."""
    start = "random" if name == CULTURE_GENERAL else f"random-{name}"
    return [f"{start}-{i}" for i in range(config.section(TransferSettings).random_controls)]


def homes(config: RunSettings) -> dict[str, str | None]:
    """Benchmark -> the label of its own test set; None where the run has none.

    Raises:
        UsageError: a benchmark names a test set that the run lacks.
    """
    tests = {test.label: parse_name(test.items).name for test in config.tests_of("culture")}
    benchmarks = config.section(TransferSettings).benchmarks
    found: dict[str, str | None] = {}
    for name in sets(config):
        benchmark = benchmarks.get(name) or TransferFrom(neur=config.identify.neur, ctrl=config.identify.ctrl)
        if benchmark.test is not None and benchmark.test not in tests:
            raise UsageError(
                f"transfer.benchmarks.{name}.test: the run has no culture test set '{benchmark.test}'; it has"
                f" {', '.join(tests)}"
            )
        same = (label for label, where in tests.items() if where == parse_name(benchmark.neur.items).name)
        found[name] = benchmark.test or next(same, None)
    return found


def held(run: SavedRun) -> dict[str, str]:
    """Benchmark -> the name of its set, where it holds a neuron."""
    return {label: name for label, name in sets(run.config).items() if len(run.neurons(name))}
