"""A run: what its studies found, from saved files."""

from __future__ import annotations

import pandas as pd

from culnig.errors import UsageError
from culnig.notebook._view import View
from culnig.run.directory import RunDirectory
from culnig.studies import Section, studies_of


def view_run(run: RunDirectory, study: str | None = None) -> View:
    """Draw what the studies of a finished run found: the texts, figures and tables of its report.

    Args:
        run: the run.
        study: one of its studies; None is the first.

    Raises:
        UsageError: the run is unfinished, or has no such study.
    """
    run.check_finished()
    studies = dict(studies_of(run.config))
    if study is not None and study not in studies:
        raise UsageError(f"the run has no study '{study}'; it has {', '.join(studies)}")
    name = study or next(iter(studies))
    section = studies[name].analyse(run)
    others = [other for other in studies if other != name]
    also = [f"This run also has {', '.join(others)}: say run.show(...) with one of these names."] if others else []
    findings = {"Findings": findings_table(section)} if section.findings else {}
    tables = {section.titles[key]: table for key, table in section.tables.items() if key in section.titles}
    text = [part for part in (section.claim, *section.text, *also) if part]
    return View(section.title, text, section.figures, findings | tables)


def findings_table(section: Section) -> pd.DataFrame:
    """Return the figures of a section's summary: what, how much, how sure."""
    rows = [(finding.label, finding.value, finding.detail) for finding in section.findings]
    return pd.DataFrame(rows, columns=["what", "how much", "how sure"])


def brief_run(run: RunDirectory) -> View:
    """List a run's studies with their claims, and where its report is."""
    if not (run.path / "manifest.json").is_file():
        return View(f"Run {run.config.name}, unfinished", [f"In {run.path}; run it again to go on."])
    claims = [str(result["claim"]) for result in run.results.values() if result.get("claim")]
    studies = pd.DataFrame({"study": [name for name, _ in studies_of(run.config)]})
    text = [*claims, f"Report: {run.path / 'report.html'}"]
    return View(f"Run {run.config.name}", text, tables={"Studies": studies})
