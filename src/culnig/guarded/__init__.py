"""Guarded selection: a set that costs culture under a declared budget of harm, checked exactly after every round."""

from culnig.guarded.data import GuardedData, guarded_data
from culnig.guarded.path import GuardedPath
from culnig.guarded.search import select_guarded
from culnig.guarded.settings import GuardedSettings, parse_harm

__all__ = ["GuardedData", "GuardedPath", "GuardedSettings", "guarded_data", "parse_harm", "select_guarded"]
