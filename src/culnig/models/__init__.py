"""Models: loading them, and where their neurons are."""

from culnig.models._family import FAMILIES, Family, Part
from culnig.models._language_model import LanguageModel
from culnig.models._load import load_model

__all__ = ["FAMILIES", "Family", "LanguageModel", "Part", "load_model"]
