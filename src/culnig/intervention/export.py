"""Write an edited model as a checkpoint."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from culnig.errors import UsageError
from culnig.files import check_writable, write_json
from culnig.intervention.scaling import Operation, scale
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet


def export(lm: LanguageModel, neurons: NeuronSet, operation: Operation, out: Path | str) -> Path:
    """Write the model in the layout of transformers, with the operation built into its weights.

    The folder also holds `culnig.json`, which names the neurons, the operation and the original model.

    Raises:
        UsageError: the folder exists already or cannot be written, or the weights cannot be edited.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out} exists already; choose a new folder for --out")
    check_writable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        staged = Path(scratch) / "model"
        with scale(lm, neurons, operation.factor, how="weights"):
            lm.model.save_pretrained(staged)
        lm.tokenizer.save_pretrained(staged)
        origin = {
            "model": lm.name,
            "model_hash": lm.fingerprint,
            "operation": operation.name,
            "factor": operation.factor,
            "formulation": lm.formulation,
        }
        write_json(staged / "culnig.json", {**origin, "neurons": neurons.to_json()})
        shutil.move(staged, out)
    return out
