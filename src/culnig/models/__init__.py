"""Models: load them, and locate their neurons."""

from culnig.models.families import FAMILIES, Family
from culnig.models.language_model import LanguageModel
from culnig.models.layouts import SiteLocation, gate_up, query_key_value
from culnig.models.loading import load_model

__all__ = ["FAMILIES", "Family", "LanguageModel", "SiteLocation", "gate_up", "load_model", "query_key_value"]
