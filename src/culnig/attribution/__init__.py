"""Attribution: how much each neuron contributes to the probability of the right answer."""

from culnig.attribution._merge import merge_scores
from culnig.attribution._oracle import Suppressed, oracle
from culnig.attribution._score import score
from culnig.attribution._store import Scores

__all__ = ["Scores", "Suppressed", "merge_scores", "oracle", "score"]
