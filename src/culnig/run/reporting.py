"""Analysis and report: every study's section from saved files, and the page, finished or so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from culnig.files import save_table, write_json
from culnig.integrations.tracking import metrics_of, track
from culnig.run.directory import RunDirectory
from culnig.run.manifest import manifest_of
from culnig.run.stages import finished_sections
from culnig.studies import Section, placed, studies_of


def analyse(directory: RunDirectory) -> list[Section]:
    """Every study's section, from saved files; tables and numbers are written beside them."""
    sections = []
    numbers: dict[str, Any] = {}
    for name, study in studies_of(directory.config):
        section = placed(name, study, study.analyse(directory))
        numbers[name] = {"claim": section.claim, **section.numbers}
        for table, frame in section.tables.items():
            save_table(directory.path / "tables" / table, frame)
        sections.append(section)
    write_json(directory.path / "results.json", numbers)
    return sections


def write_report_so_far(
    directory: RunDirectory, stages: Sequence[tuple[str, bool]], seconds: Mapping[str, float]
) -> Path:
    """Write report.html of an unfinished run: the studies that are done, and what is still to come."""
    from culnig.report import render_report

    sections = finished_sections(directory)
    return render_report(directory, sections, manifest_of(directory, seconds), stages=stages)


def write_report(directory: RunDirectory, sections: list[Section]) -> Path:
    """Write report.html and figures/."""
    from culnig.report import render_report

    return render_report(directory, sections, directory.manifest)


def tell_trackers(run: RunDirectory) -> None:
    """Send the figures of a finished run to the trackers that its config names; none is the default."""
    if run.config.tracking.to:
        metrics = metrics_of(run.results, run.manifest["seconds"])
        facts = run.config.model_dump(mode="json")
        track(run.config.tracking, run.path, name=run.config.name, config=facts, metrics=metrics)
