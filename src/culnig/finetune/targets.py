"""Write chosen projections in the forms that other tools read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from culnig.finetune.ranking import Choice, Projection


def peft_expression(projections: Iterable[Projection]) -> str:
    """Return a regular expression for PEFT's `target_modules` that matches only these projections' full paths.

    Stacked experts are parameters, which PEFT takes as `target_parameters`; they are left out (see `peft_parameters`).
    """
    layers: dict[tuple[str, str], list[int]] = {}
    for p in projections:
        if not p.stacked:
            prefix = p.path.removesuffix(f".{p.layer}.{p.module}")
            layers.setdefault((prefix, p.module), []).append(p.layer)
    parts: dict[str, list[str]] = {}
    for (prefix, module), numbers in sorted(layers.items()):
        listed = "|".join(map(str, sorted(numbers)))
        parts.setdefault(prefix, []).append(rf"(?:{listed})\.{re.escape(module)}")
    return "|".join(rf"{re.escape(prefix)}\.(?:{'|'.join(kinds)})" for prefix, kinds in parts.items())


def peft_list(projections: Iterable[Projection]) -> list[str]:
    """Return full paths for PEFT's `target_modules`, in the model's order."""
    return [p.path for p in in_order(projections) if not p.stacked]


def peft_parameters(projections: Iterable[Projection]) -> list[str]:
    """Return full paths for PEFT's `target_parameters`: stacked experts."""
    return [p.path for p in in_order(projections) if p.stacked]


def in_order(projections: Iterable[Projection]) -> list[Projection]:
    """Sort projections by layer, then by module."""
    return sorted(projections, key=lambda p: (p.layer, p.module))


def row(p: Projection) -> dict[str, Any]:
    """Return a projection as a row of a table."""
    return {
        "module": p.module,
        "layer": p.layer,
        "neurons": p.neurons,
        "block_neurons": p.block_neurons,
        "density": p.density,
        "parameters": p.parameters,
        "path": p.path,
    }


def describe(choice: Choice) -> dict[str, Any]:
    """Return a choice as JSON values: the requested and the reached share, and the modules in all forms."""
    chosen = choice.projections
    return {
        "pick": choice.pick,
        "by": choice.by,
        "among": choice.among,
        "asked": choice.asked,
        "share": choice.share,
        "parameters": choice.parameters,
        "neurons": choice.neurons,
        "modules": len(chosen),
        **targets(chosen),
    }


def targets(projections: Sequence[Projection]) -> dict[str, Any]:
    """Return PEFT's `target_modules`, as expression and as list, and `target_parameters` if there are any."""
    parameters = peft_parameters(projections)
    return {
        "expression": peft_expression(projections),
        "target_modules": peft_list(projections),
        **({"target_parameters": parameters} if parameters else {}),
    }
