"""The stages of a run and which of them are done, from the files in its folder."""

from __future__ import annotations

from culnig.errors import CulnigError
from culnig.run.directory import RunDirectory
from culnig.run.tuning import is_done
from culnig.studies import Measuring, Section, Study, TuningStudy, merged, placed, studies_of


def stages_of(run: RunDirectory) -> list[tuple[str, bool]]:
    """Return every stage of a run, in the order in which it is done, and whether it is done."""
    studies = studies_of(run.config)
    stages = [(f"score {part}", run.scores_path(part).is_file()) for part in run.scored]
    selected = all(run.marker_path(name).exists() for name, _ in studies)
    stages.append(("select neurons", selected))
    if not selected:
        return [*stages, ("evaluate", False), ("analyse and write the report", False)]
    conditions = merged(condition for _, study in studies for condition in study.conditions(run))
    wanted = [
        run.result_path(test, condition.name).is_file()
        for test in run.config.test
        for condition in conditions.values()
        if condition.wanted(test, run.config)
    ]
    stages.append((f"evaluate ({sum(wanted)} of {len(wanted)} results)", all(wanted)))
    if run.config.guards.text:
        read = [run.text_path(c.name).is_file() for c in conditions.values() if c.guarded(run.config)]
        stages.append((f"read plain text ({sum(read)} of {len(read)} conditions)", all(read)))
    stages += [(f"measure {name}", study.measured(run)) for name, study in studies if isinstance(study, Measuring)]
    for name, study in studies:
        if isinstance(study, TuningStudy):
            tunings = study.tunings(run)
            stages.append((f"tune for {name}", all(is_done(run, tuning) for tuning in tunings)))
    return [*stages, ("analyse and write the report", False)]


def finished_sections(run: RunDirectory) -> list[Section]:
    """Return the sections of the studies that have all that they need; the others are still to come.

    The study that the report begins with is shown as soon as one of its test sets is through.
    """
    sections = []
    for name, study in studies_of(run.config):
        if _ready(run, name, study):
            seen = run
        elif name == _first(run) and (answered := _answered(run, name, study)):
            seen = answered
        else:
            continue
        try:
            sections.append(placed(name, study, study.analyse(seen)))
        except (CulnigError, FileNotFoundError):
            continue  # it looks at another study's results, which are not there yet
    return sections


def _first(run: RunDirectory) -> str:
    """Name of the study whose conditions are evaluated first; "" if no study has any."""
    marked = [(name, study) for name, study in studies_of(run.config) if run.marker_path(name).exists()]
    return next((name for name, study in marked if study.conditions(run)), "")


def _answered(run: RunDirectory, name: str, study: Study) -> RunDirectory | None:
    """Return the run with those test sets alone on which a study is ready; None if it needs more."""
    tests = [
        test
        for test in run.config.test
        if all(run.result_path(test, c.name).is_file() for c in study.conditions(run) if c.wanted(test, run.config))
    ]
    if not set(getattr(study, "needs", ())) <= {test.role for test in tests}:
        return None
    limited = RunDirectory(run.path, run.config.model_copy(update={"test": tests}))
    return limited if _ready(limited, name, study) else None


def _ready(run: RunDirectory, name: str, study: Study) -> bool:
    """Whether a study's sets, results, measurements and tuned models are all there."""
    if not run.marker_path(name).exists():
        return False
    done = [
        run.result_path(test, condition.name).is_file()
        for test in run.config.test
        for condition in study.conditions(run)
        if condition.wanted(test, run.config)
    ]
    if not all(done) or (isinstance(study, Measuring) and not study.measured(run)):
        return False
    return not isinstance(study, TuningStudy) or all(is_done(run, tuning) for tuning in study.tunings(run))
