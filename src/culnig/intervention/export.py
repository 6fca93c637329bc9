"""Write an edited model as a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from culnig.attribution import Means
from culnig.errors import ModelError, UsageError
from culnig.files import check_writable, staged_folder
from culnig.intervention.editing import zero_bias
from culnig.intervention.operation import Operation
from culnig.models import LanguageModel
from culnig.models.checkpoint_files import sign
from culnig.models.quiet import quiet
from culnig.neurons import NeuronSet

FLAGS = ("attention_bias", "mlp_bias")
"""Fields of configs that give projections a bias."""
CHECKED = 16
"""Tokens on which a written checkpoint must give the edited model's logits."""


def export(
    lm: LanguageModel, neurons: NeuronSet, operation: Operation, out: Path | str, means: Means | None = None
) -> Path:
    """Write the model in the layout of transformers, with the operation built into its weights.

    The folder also holds `culnig.json`, which names the neurons, the operation and the original model.  A replacement
    needs biases, which the config must declare; such a checkpoint is loaded again and its logits compared.

    Raises:
        UsageError: the folder exists already or cannot be written, the weights cannot be edited, or the model's config
            cannot declare a bias that is needed.
        ModelError: the checkpoint gives other logits.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out} exists already; choose a new folder for --out")
    check_writable(out)
    with staged_folder(out) as staged:
        with operation.on(lm, neurons, means, how="weights"), _biases_declared(lm, operation):
            lm.model.save_pretrained(staged)
            if operation.factor is None:
                _check(lm, staged)
        lm.tokenizer.save_pretrained(staged)
        origin = {
            "model": lm.name,
            "model_hash": lm.fingerprint,
            "operation": operation.name,
            "factor": operation.factor,
            **({"reference": means.record} if means else {}),
            "formulation": lm.formulation,
        }
        sign(staged, {**origin, "neurons": neurons.to_json()})
    return out


@contextmanager
def _biases_declared(lm: LanguageModel, operation: Operation) -> Iterator[None]:
    """Declare in the config, within the block, the biases that the edit has added.

    A field of the config may stand for more projections than were edited; these get biases of zeros.
    """
    present = _biases(lm.model)
    before = {flag: getattr(lm.text_config, flag) for flag in FLAGS if hasattr(lm.text_config, flag)}
    declared = _biases(_empty(lm))
    for flag in before:
        if missing := present - declared:
            setattr(lm.text_config, flag, True)
            wider = _biases(_empty(lm))
            if wider & missing:
                declared = wider
            else:
                setattr(lm.text_config, flag, before[flag])
    added: list[Any] = []
    try:
        if undeclared := sorted(present - declared):
            raise UsageError(
                f"a checkpoint of {lm.model.config.model_type} cannot hold the bias of {undeclared[0]}, which"
                f" --op {operation.name} needs; use --op {operation.name} without export, or export --op suppress"
            )
        for path in declared - present:
            added.append(lm.model.get_submodule(path))
            added[-1].bias = zero_bias(added[-1])
        yield
    finally:
        for module in added:
            module.bias = None
        for flag, value in before.items():
            setattr(lm.text_config, flag, value)


def _biases(model: torch.nn.Module) -> set[str]:
    """Return the paths of the modules that have a bias."""
    return {name.removesuffix(".bias") for name, _ in model.named_parameters() if name.endswith(".bias")}


def _empty(lm: LanguageModel) -> torch.nn.Module:
    """Return the model that the config describes, without weights."""
    with quiet(), torch.device("meta"):
        return type(lm.model)(copy.deepcopy(lm.model.config))


def _check(lm: LanguageModel, folder: Path) -> None:
    """Load a checkpoint as transformers does, and compare its logits with the edited model's on a few tokens.

    Raises:
        ModelError: they differ.
    """
    same: dict[str, Any] = {"dtype": lm.dtype, "attn_implementation": lm.text_config._attn_implementation}
    with quiet():
        loaded, account = type(lm.model).from_pretrained(folder, output_loading_info=True, **same)
    loaded = loaded.eval().to(lm.device)
    vocabulary = lm.model.get_input_embeddings().weight.shape[0]
    tokens = torch.linspace(0, vocabulary - 1, CHECKED, device=lm.device).long()[None]
    with torch.no_grad():
        ours, theirs = (model(tokens, use_cache=False).logits.float() for model in (lm.model, loaded))
    largest = float((ours - theirs).abs().max())
    astray = sorted({*account["missing_keys"], *account["unexpected_keys"]})
    if astray or largest > 1e-5 * float(ours.abs().max()):
        raise ModelError(
            f"the checkpoint of {lm.model.config.model_type} does not give the edited model's logits (largest difference"
            f" {largest:.3g}; tensors astray: {', '.join(astray[:3]) or 'none'}); nothing was written; export --op suppress"
        )
