"""Models: loading them, and where their neurons are."""

from culnig.models._family import FAMILIES, Family, Part, gate_up, query_key_value
from culnig.models._language_model import LanguageModel
from culnig.models._load import load_model

__all__ = ["FAMILIES", "Family", "LanguageModel", "Part", "gate_up", "load_model", "query_key_value"]
