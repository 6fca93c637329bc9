"""culnig: find, test and protect the neurons of a language model that carry cultural understanding.

>>> import culnig
>>> lm = culnig.load_model("smollm2-135m")
>>> neur, ctrl, crc = (culnig.load_items(n) for n in ("everyday:neur", "everyday:ctrl", "country_rc:neur"))
>>> scores = [culnig.score(lm, items, formulation="cf") for items in (neur, ctrl, crc)]
>>> neurons = culnig.select_general(*scores)
>>> with culnig.suppress(lm, neurons):
...     result = culnig.evaluate(lm, culnig.load_items("everyday:test"), formulation="cf")

Shapes in docstrings use these letters, everywhere in the package:

    B  prompts of a batch           L  layers                      G  groups (countries, or what stands for them)
    T  tokens of a padded prompt    N  neurons of a module         K  blocks of items
    V  tokens of the vocabulary     H  width of a hidden state     P  prompts of a job
    Q  positions of a batch whose logits are needed                C  countries

N counts the neurons of one layer.  With experts it counts those of all experts, or of one if a docstring says so.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_HOME = {
    "Item": "culnig.data",
    "load_items": "culnig.data",
    "read_items": "culnig.data",
    "write_items": "culnig.data",
    "LanguageModel": "culnig.models",
    "load_model": "culnig.models",
    "PromptPolicy": "culnig.prompts",
    "Scores": "culnig.attribution",
    "score": "culnig.attribution",
    "merge_scores": "culnig.attribution",
    "oracle": "culnig.attribution",
    "Means": "culnig.attribution",
    "mean_values": "culnig.attribution",
    "Neuron": "culnig.neurons",
    "NeuronSet": "culnig.neurons",
    "Site": "culnig.neurons",
    "select_general": "culnig.selection",
    "select_specific": "culnig.selection",
    "select_random": "culnig.selection",
    "select_guarded": "culnig.guarded",
    "guarded_data": "culnig.guarded",
    "GuardedSettings": "culnig.guarded",
    "suppress": "culnig.intervention",
    "enhance": "culnig.intervention",
    "scale": "culnig.intervention",
    "replace": "culnig.intervention",
    "evaluate": "culnig.evaluation",
    "EvalResult": "culnig.evaluation",
    "answer": "culnig.evaluation",
    "AnswerResult": "culnig.evaluation",
    "compare": "culnig.evaluation",
    "run": "culnig.run",
    "CulnigError": "culnig.errors",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    # Names are imported on first use, so that `culnig --help` does not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module 'culnig' has no attribute '{name}'")
    home = importlib.import_module(_HOME[name])
    return home if _HOME[name] == f"culnig.{name}" else getattr(home, name)  # `run` is a package that can be called


def __dir__() -> list[str]:
    return sorted(__all__)
