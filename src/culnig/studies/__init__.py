"""Studies: the questions a run answers.  One file a study; a run does those that its config names."""

from culnig.studies.base import (
    STUDIES,
    Condition,
    Finding,
    MeasurementContext,
    Measuring,
    Section,
    Study,
    Tuning,
    TuningStudy,
    merged,
)

__all__ = [
    "STUDIES",
    "Condition",
    "Finding",
    "MeasurementContext",
    "Measuring",
    "Section",
    "Study",
    "Tuning",
    "TuningStudy",
    "merged",
]
