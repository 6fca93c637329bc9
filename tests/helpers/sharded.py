"""Compare a sharded model with a whole one, family by family; each process of a job runs this.

    torchrun --nproc-per-node 2 -m tests.helpers.sharded FOLDER FAMILY[:DTYPE] ...

FOLDER gets the tiny models.  Process 0 prints one line of JSON for each family: what is equal ("scores", "rows",
"resumed"), what the sharded model refused to do alone ("refused"), and the share of the layers' weights that the
process keeps ("kept"), and whether a checkpoint was there to resume from ("checkpoint").
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from bench.tiny import build, items, tokenizer

import culnig
from culnig import distributed
from culnig.errors import ModelError
from culnig.models import load_model
from culnig.neurons import Neuron, NeuronSet
from culnig.passes.forward import no_branches
from culnig.passes.generation import write_lines

BUDGET = 24
"""Small, so that there are several batches, and one process has more of them than the other."""


def scored(lm, **options):
    formulation = "mcf" if no_branches(lm) else "cf"
    return culnig.score(lm, items(7), formulation=formulation, token_budget=BUDGET, **options)


def evaluated(lm):
    """Return the rows of an evaluation with some neurons of every site suppressed."""
    chosen = NeuronSet([Neuron(site.module, site.layer, i) for site in lm.sites for i in (0, 5)])
    with culnig.suppress(lm, chosen, how="hooks"):  # the weights of a sharded model cannot be edited
        formulation = "mcf" if no_branches(lm) else "cf"
        return culnig.evaluate(lm, items(7), formulation=formulation, token_budget=BUDGET).rows


def resumed(lm, folder):
    """Return scores that one process takes up from its checkpoint and the other one begins again, and whether there was one."""
    checkpoint = folder / ".progress"
    scored(lm, checkpoint=checkpoint, checkpoint_minutes=0)
    distributed.wait()
    mine = Path(f"{checkpoint}.{distributed.rank()}-of-2")
    kept = mine.is_file()  # not where the process had a single batch
    if not distributed.is_main():
        mine.unlink(missing_ok=True)
    distributed.wait()
    return scored(lm, checkpoint=checkpoint), kept


def refused(lm):
    try:
        write_lines(lm, [(3, 4)], 2)
    except ModelError as error:
        return str(error)
    return ""


def same(a, b):
    return a.meta == b.meta and all((a.sums[key] == sums).all() for key, sums in b.sums.items())


def save(family, folder, dtype):
    """Write a family's tiny model; "untied" is a Llama with a head of its own, whose config says that it is tied."""
    model = build("llama", tie_word_embeddings=False) if family == "untied" else build(family)
    model.to(dtype).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    if family == "untied":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))


def compare(family, folder, dtype):
    """Return what `main` prints for a family."""
    if distributed.is_main():
        save(family, folder, dtype)
    distributed.wait()
    kind = str(dtype).removeprefix("torch.")
    whole, lm = load_model(folder, dtype=kind), load_model(folder, dtype=kind, device_map="fsdp")
    expected = scored(whole)
    again, checkpoint = resumed(lm, folder)
    kept = sum(p.to_local().numel() for layer in lm.layers for p in layer.parameters())
    return {
        "family": family if dtype == torch.float32 else f"{family}:{kind}",
        "scores": same(scored(lm), expected),
        "rows": evaluated(lm).equals(evaluated(whole)),
        "resumed": same(again, expected),
        "checkpoint": checkpoint,
        "refused": refused(lm),
        "kept": kept / sum(p.numel() for layer in whole.layers for p in layer.parameters()),
    }


def main(folder, *families):
    with distributed.guard():
        for family in families:
            name, _, dtype = family.partition(":")
            found = compare(name, Path(folder) / name, getattr(torch, dtype or "float32"))
            if distributed.is_main():
                print(json.dumps(found), flush=True)
    distributed.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
