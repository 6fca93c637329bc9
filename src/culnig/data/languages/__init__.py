"""Languages: when does a generated text hold an answer?  One file a library; others are compared by plain words."""

from culnig.data.languages.base import ANALYSERS, Line, Reading, line_of
from culnig.data.languages.matching import Matcher, holds, matcher
from culnig.data.languages.normalising import fold, words

__all__ = ["ANALYSERS", "Line", "Matcher", "Reading", "fold", "holds", "line_of", "matcher", "words"]
