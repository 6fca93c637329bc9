"""Planning: what a run will cost, before anything is loaded."""

from culnig.planning._plan import Plan, plan

__all__ = ["Plan", "plan"]
