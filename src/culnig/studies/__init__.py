"""Studies: the questions a run answers.  One file a study; a run does those that its config names."""

from culnig.studies._base import STUDIES, Condition, Finding, Measuring, Section, Study

__all__ = ["STUDIES", "Condition", "Finding", "Measuring", "Section", "Study"]
