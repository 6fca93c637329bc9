"""The tools around culnig: neuron sets as repositories, other harnesses, other libraries' hooks, trackers of runs.

Each file speaks to one tool.  Packages that are not dependencies of culnig are imported when they are needed.
"""

from culnig.integrations.hub import pull, push
from culnig.integrations.repository import Repository

__all__ = ["Repository", "pull", "push"]
