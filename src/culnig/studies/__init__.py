"""Studies: the questions that a run answers.  One file or folder a study; a run does those that its config names."""

from culnig.studies._base import (
    STUDIES,
    UNTOUCHED,
    Condition,
    Finding,
    MeasurementContext,
    Measuring,
    Scoring,
    Section,
    Study,
    Tuning,
    TuningStudy,
    merged,
    scored_sets,
    studies_of,
)
from culnig.studies._saved import SavedRun, identification_sets, test_names
from culnig.studies._settings import (
    ComputeConfig,
    GuardConfig,
    IdentifyConfig,
    RunSettings,
    TestConfig,
    checked_methods,
)

__all__ = [
    "STUDIES",
    "UNTOUCHED",
    "ComputeConfig",
    "Condition",
    "Finding",
    "GuardConfig",
    "IdentifyConfig",
    "MeasurementContext",
    "Measuring",
    "RunSettings",
    "SavedRun",
    "Scoring",
    "Section",
    "Study",
    "TestConfig",
    "Tuning",
    "TuningStudy",
    "checked_methods",
    "identification_sets",
    "merged",
    "scored_sets",
    "studies_of",
    "test_names",
]
