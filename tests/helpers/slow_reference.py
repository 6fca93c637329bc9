"""Scores by definition (METHOD section 3): one sequence for each option, plain autograd, loops."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch

from culnig.neurons import Site
from culnig.prompts import encode, render


@contextmanager
def module_outputs(lm):
    """Capture whole module outputs; yield (outputs by site, function that picks the site's part by site)."""
    captured: dict[Site, list[torch.Tensor]] = {site: [] for site in lm.sites}

    def keep(site, module):
        def hook(_module, _args, output):
            captured[site].append(output)
            output.retain_grad()

        return module.register_forward_hook(hook)

    handles = [keep(site, part.module) for site, part in lm.sites.items()]
    try:
        yield captured, {site: part.take for site, part in lm.sites.items()}
    finally:
        for handle in handles:
            handle.remove()


def _from_embeddings(lm, ids):
    """A pass that a backward pass can follow to the embeddings."""
    handle = lm.model.get_input_embeddings().register_forward_hook(
        lambda m, a, out: out.detach().requires_grad_(True) * 1
    )
    try:
        return lm.model(ids)
    finally:
        handle.remove()


def slow_scores(lm, items, policy, capture=module_outputs, skip=0):
    """Return site -> sums [G, N], without the first `skip` positions.

    `capture` gives access to a site's values [1, T, ..], as `module_outputs` does.
    """
    groups = sorted({item.country for item in items})
    sums = {site: np.zeros((len(groups), part.width)) for site, part in lm.sites.items()}
    for encoded in encode(render(items, policy), lm.tokenizer, policy):
        with capture(lm) as (captured, pick):
            logprobs = []
            # In mcf the prompt's last position predicts all answers, so one sequence is enough.
            for answer in encoded.answer_ids if policy.formulation == "cf" else encoded.answer_ids[:1]:
                ids = torch.tensor([encoded.prompt_ids + answer[:-1]])
                logits = _from_embeddings(lm, ids).logits[0].log_softmax(-1)
                start = len(encoded.prompt_ids) - 1
                if policy.formulation == "cf":
                    logprobs.append(sum(logits[start + i, token] for i, token in enumerate(answer)))
                else:
                    logprobs = [logits[start, a[0]] for a in encoded.answer_ids]
            stacked = torch.stack(logprobs)
            p = (stacked.softmax(0) if policy.formulation == "cf" else stacked.exp())[encoded.gold]
            p.backward()
        prompt = len(encoded.prompt_ids)
        for site, values in captured.items():
            # One sequence at a time, so [1, T, N] and the [T, N] of a layer that flattens its input are the same.
            products = [pick[site](v.grad * v).flatten(0, -2) for v in values]
            # All options share one computation of the prompt, so its contributions add up.
            shared = sum(product[:prompt] for product in products)
            s = torch.cat([shared, *(product[prompt:] for product in products)])[skip:].amax(0)
            s = s.clamp(min=0) if encoded.item.control else s
            sums[site][groups.index(encoded.item.country)] += (p * s).detach().numpy()
    return sums
