"""`python -m bench.models [FAMILY ...] [--write]`: every architecture the whole way, as a tiny random model.

Each is scored, suppressed, evaluated and exported, in mcf and, where its attention allows it, in cf, and every step is
checked (`bench.journey`).  `--write` writes docs/models.md.  Exit code 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import tiny
from bench.journey import Journey, Wrong, travel
from culnig.errors import CulnigError
from culnig.models import FAMILIES
from culnig.models.unmapped import REASONS
from culnig.versions import versions

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
REAL = {
    "llama": "SmolLM2 has run on its real weights",
    "gemma3_text": "Gemma 3 has run on its real weights",
}
"""Families of which a model with its real weights has run, in this project's own runs (docs/results.md)."""
TINY = "tiny random model only, not run on real weights"
HEAD = f"""# Architectures

This page is made by `python -m bench.models --write`. Do not edit it.

The command runs a tiny random model of each architecture through scoring, suppression, evaluation and export.
It checks every step against a definition that does not use culnig's map of the model:

- A score equals the derivative of P by a factor on the neuron's weights.
- Answers packed behind one prompt (cf) have the log-probabilities of one sequence an option.
- Edited weights give the logits of hooks, and afterwards the model is the same to the byte.
- Attention whose values are zero depends on no query or key, and an MLP whose gate is zero on no up neuron.
- The exported folder, read by transformers alone, gives the edited model's logits.

Except for SmolLM2 and Gemma 3, the words in the last column hold: {TINY}.
Real checkpoints may still bring surprises of tokenizers, templates and number formats.

`model_type` is what a checkpoint's `config.json` says.
Where the MLP column names a shared expert, every token passes it beside the routed ones.
Its neurons are the modules `mlp.shared_gate_proj` and `mlp.shared_up_proj`, and gate neurons of both are one pool.
"""


def table(found: Sequence[Journey]) -> str:
    """The rows of the architectures that went the whole way."""
    lines = [
        "| `model_type` | class of transformers | neurons of the MLP | of attention | cf | run on |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        cf = f"no: {one.no_cf}" if one.no_cf else "yes"
        lines.append(
            f"| `{one.family}` | {one.architecture} | {one.mlp} | {one.attention} | {cf} | {REAL.get(one.family, TINY)} |"
        )
    return "\n".join(lines)


def page(found: Sequence[Journey]) -> str:
    """The whole page."""
    both, mcf = sum(not one.no_cf for one in found), sum(bool(one.no_cf) for one in found)
    others = [f"| `{family}` | its language model is that of `{same}` |" for family, same in tiny.SAME.items()]
    others += [f"| `{family}` | mapped, but not run: {reason} |" for family, reason in tiny.NOT_RUN.items()]
    reasons = [f"| {', '.join(f'`{name}`' for name in names)} | {reason} |" for reason, names in REASONS.items()]
    return "\n".join(
        [
            HEAD,
            f"{len(found)} architectures went the whole way with transformers {versions()['transformers']}:"
            f" {both} in mcf and cf, and {mcf} in mcf alone.",
            "In cf, answers of several tokens stand side by side behind one prompt, each with a mask of its own.",
            "Where a layer takes no such mask, cf ends with an error that says so.",
            "",
            table(found),
            "",
            "## Other names of these",
            "| `model_type` | what is known |",
            "|---|---|",
            *others,
            "",
            "## Not mapped",
            "transformers has a causal language model of these, too. culnig refuses them with the reason.",
            "",
            "| `model_type` | reason |",
            "|---|---|",
            *reasons,
            "",
        ]
    )


def run(families: Sequence[str]) -> tuple[list[Journey], Mapping[str, str]]:
    """The journeys that succeeded, and family -> what went wrong."""
    found, wrong = [], {}
    for family in families:
        begun = time.perf_counter()
        try:
            found.append(travel(family))
            said = f"cf {'no: ' + found[-1].no_cf if found[-1].no_cf else 'yes'}"
        except (Wrong, CulnigError, RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
            wrong[family] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            said = f"WRONG {wrong[family]}"
        print(f"{family:<22} {time.perf_counter() - begun:5.1f} s   {said}", flush=True)
    return found, wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=__doc__)
    parser.add_argument("families", nargs="*", help="some of them; without any, all")
    parser.add_argument("--write", action="store_true", help="write docs/models.md")
    arguments = parser.parse_args()
    if unknown := [family for family in arguments.families if family not in tiny.CONFIGS]:
        parser.error(f"no tiny model of {', '.join(unknown)}; there are {', '.join(tiny.CONFIGS)}")
    if arguments.write and arguments.families:
        parser.error("--write takes all families")
    if left := set(FAMILIES.names()) - {*tiny.CONFIGS, *tiny.SAME, *tiny.NOT_RUN}:
        parser.error(f"no tiny model of {', '.join(sorted(left))}; add one to bench/tiny.py")
    found, wrong = run(arguments.families or list(tiny.CONFIGS))
    print(f"{len(found)} the whole way, {len(wrong)} wrong{': ' + ', '.join(wrong) if wrong else ''}")
    if arguments.write and not wrong:
        PAGE.write_text(page(found), encoding="utf-8")
        print(f"written: {PAGE}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
