"""The card of a neuron set's repository: README.md with the front matter that the hub reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from culnig.formatting import format_number, points
from culnig.neurons import NeuronSet

METHOD = "https://arxiv.org/abs/2510.08284"
_USE = """## Use

```sh
culnig pull SOURCE --out set        # this repository's address, or its folder
culnig eval --model MODEL --items everyday:test --neurons set/neurons.json --out e.parquet
```"""


def card(name: str, neurons: NeuronSet, controls: Mapping[str, NeuronSet], manifest: Mapping[str, Any]) -> str:
    """Return the card's text.

    Args:
        name: title.
        neurons: the set.
        controls: its matched random sets.
        manifest: the repository's manifest: model, figures, guards, versions.
    """
    model = manifest["model"]
    parts = [
        _front(model),
        f"# {name}",
        f"{len(neurons):,} neurons of `{model['name']}`, found with [culnig]({METHOD}).",
        _model(model, neurons),
        _USE,
        _figures(manifest["figures"]),
        _guards(manifest["guards"]),
        _controls(controls),
        _made(neurons, manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(model: Mapping[str, Any]) -> str:
    lines = ["---", "library_name: culnig", "tags: [culnig, neurons, interpretability, culture]"]
    if model["name"].count("/") == 1 and not model["name"].startswith((".", "/")):
        lines.append(f"base_model: {model['name']}")
    return "\n".join([*lines, "---"])


def _model(model: Mapping[str, Any], neurons: NeuronSet) -> str:
    facts = [("name", f"`{model['name']}`"), ("hash of its computation and weights", f"`{model['model_hash']}`")]
    if model.get("revision"):
        facts.append(("revision", f"`{model['revision']}`"))
    modules = Counter(neuron.module for neuron in neurons)
    facts += [(f"neurons in `{module}`", f"{count:,}") for module, count in sorted(modules.items())]
    return "## Model\n\n" + _table(("what", "value"), facts) + "\n\nculnig refuses the set on any other model."


def _figures(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "## Figures\n\nNo measurements were given with this set."
    shown = []
    for row in rows:
        if row["what"] == "accuracy":
            value = f"{100 * row['value']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        else:
            value = f"{points(row['value'])} points ({points(row['low'])} to {points(row['high'])})"
        shown.append((row["test"], row["what"], row["condition"], value, f"{row['questions']:,}"))
    head = ("test", "what", "condition", "value (95 % interval)", "questions")
    return "## Figures\n\n" + _table(head, shown)


def _guards(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "## Guards\n\nIt was not measured whether the suppressed model still works."
    shown = [
        (
            row["name"],
            *(_number(row[key]) for key in ("untouched", "suppressed", "change", "low", "high")),
            row["state"],
        )
        for row in rows
    ]
    head = ("guard", "untouched", "suppressed", "change", "low", "high", "interval and margin")
    return "## Guards\n\n" + _table(head, shown)


def _controls(controls: Mapping[str, NeuronSet]) -> str:
    if not controls:
        return "## Controls\n\nNo random sets are in this repository."
    rows = [
        (f"`controls/{name}.json`", f"{len(s):,}", str(s.provenance.get("kind", ""))) for name, s in controls.items()
    ]
    return "## Controls\n\n" + _table(("file", "neurons", "kind"), rows)


def _made(neurons: NeuronSet, manifest: Mapping[str, Any]) -> str:
    rows = [(key, f"`{value}`") for key, value in _scalars(neurons.provenance, "")]
    rows += [(package, version) for package, version in manifest["versions"].items()]
    return "## How it was made\n\n" + _table(("what", "value"), rows)


def _scalars(value: Mapping[str, Any], path: str) -> list[tuple[str, Any]]:
    """Return the texts and numbers of nested mappings by their paths, sorted."""
    found: list[tuple[str, Any]] = []
    for key, inner in sorted(value.items()):
        if isinstance(inner, Mapping):
            found += _scalars(inner, f"{path}{key}.")
        elif isinstance(inner, str | int | float | bool):
            found.append((f"{path}{key}", inner))
    return found


def _number(value: Any) -> str:
    return format_number(value, ".4g") if isinstance(value, int | float) else "not measured"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
