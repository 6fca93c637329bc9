"""Languages: when does a generated text hold an answer?  One file a library; others are compared by plain words."""

from culnig.languages._base import READERS, Line, Reading, line_of
from culnig.languages._match import Matcher, holds, matcher
from culnig.languages._normalise import fold, words

__all__ = ["READERS", "Line", "Matcher", "Reading", "fold", "holds", "line_of", "matcher", "words"]
