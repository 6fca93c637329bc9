"""Scoring methods by definition: one prompt and one site at a time, plain autograd, answers as single labels (mcf)."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack

import numpy as np
import torch

from culnig.models import LanguageModel
from culnig.prompts import PromptPolicy, encode, render
from tests.helpers import tiny_models

MCF = PromptPolicy(formulation="mcf", chat_template="off")
REDUCE = {
    "max": lambda s: s.amax(0),
    "sum": lambda s: s.sum(0),
    "mean": lambda s: s.mean(0),
    "last": lambda s: s[-1],
    "absmax": lambda s: s.abs().amax(0),
}


def encoded_of(lm, items):
    return encode(render(items, MCF), lm.tokenizer, MCF)


class Run:
    """One forward pass over a prompt; `edits` maps a site to a function that replaces its values [T, N]."""

    def __init__(self, lm, encoded, edits=None):
        self.values = {}
        with ExitStack() as stack:
            for site, found in lm.sites.items():
                stack.callback(found.module.register_forward_hook(self.hook(site, found, edits or {})).remove)
            embedded = lm.model.get_input_embeddings()(torch.tensor([encoded.prompt_ids])).detach().requires_grad_(True)
            logits = lm.model(inputs_embeds=embedded).logits[0, -1].log_softmax(-1)
        self.logp = logits[encoded.answer_ids[encoded.gold][0]]
        wrong = [logits[a[0]] for i, a in enumerate(encoded.answer_ids) if i != encoded.gold]
        self.targets = {"p": self.logp.exp(), "logp": self.logp, "diff": self.logp - max(wrong)}
        self.p = self.logp.exp().item()

    def hook(self, site, found, edits):
        def keep(module, args, output):
            if site in edits:
                at = torch.arange(output.shape[-1])
                at = at[found.rows]
                output = output.index_copy(-1, at, edits[site](output[..., at]))
            output.retain_grad()
            self.values[site] = (output, found)
            return output

        return keep

    def value(self, site):
        output, found = self.values[site]
        return found.take(output)[0].detach()

    def gradient(self, site):
        output, found = self.values[site]
        return found.take(output.grad)[0]


def by_item(lm, items, function):
    """Return site -> sums [G, N] of function(encoded) -> {site: [N]}."""
    groups = sorted({item.country for item in items})
    sums = {}
    for e in encoded_of(lm, items):
        for site, scores in function(e).items():
            total = sums.setdefault(site, np.zeros((len(groups), len(scores))))
            total[groups.index(e.item.country)] += np.asarray(scores.detach(), dtype=np.float64)
    return sums


def finished(scores, run, encoded, weight, clamped):
    scores = scores.clamp(min=0) if clamped and encoded.item.control else scores
    return scores * run.p if weight == "weighted" else scores


def gradient_scores(lm, items, positions="max", target="p", weight="weighted", *, reference=None, clamped=None, skip=0):
    """Return the scores (n - reference) * d target / d n.

    `reference(encoded, site)` is a number for each neuron; `clamped` by default for maxima; `skip` leaves out so many
    positions at the start.
    """
    clamped = positions in ("max", "absmax") if clamped is None else clamped

    def one(e):
        run = Run(lm, e)
        run.targets[target].backward()
        found = {}
        for site in lm.sites:
            value = run.value(site) - (reference(e, site) if reference else 0)
            products = (value * run.gradient(site))[skip:]
            found[site] = finished(REDUCE[positions](products), run, e, weight, clamped)
        return found

    return by_item(lm, items, one)


def mean_values(lm, encoded):
    run = Run(lm, encoded)
    return {site: run.value(site).mean(0) for site in lm.sites}


def dataset_reference(lm, items):
    means = [mean_values(lm, e) for e in encoded_of(lm, items)]
    return lambda e, site: torch.stack([m[site] for m in means]).mean(0)


def control_reference(lm, items):
    bare = [dataclasses.replace(item, question="") for item in items]
    means = {e.item.id: mean_values(lm, e) for e in encoded_of(lm, bare)}
    return lambda e, site: means[e.item.id][site]


def integrated_gradients(lm, items, sites, steps, positions="sum", target="p", skip=0):
    clamped = positions in ("max", "absmax")

    def one(e):
        clean, found = Run(lm, e), {}
        for site in sites:
            total = torch.zeros_like(clean.value(site))
            for k in range(steps):
                alpha = (k + 0.5) / steps
                run = Run(lm, e, {site: lambda v, a=alpha: v * a})
                run.targets[target].backward()
                total += run.gradient(site) / steps
            found[site] = finished(REDUCE[positions]((clean.value(site) * total)[skip:]), clean, e, "weighted", clamped)
        return found

    return by_item(lm, items, one)


def model_of(family):
    return LanguageModel(tiny_models.build(family), tiny_models.tokenizer(), name=family)


def check(scores, name, expected, atol=2e-4):
    for site, sums in expected.items():
        got = scores.sums[name, site.module][:, site.layer]
        assert np.abs(sums).max() > 0
        np.testing.assert_allclose(got, sums, atol=atol * np.abs(sums).max(), rtol=0, err_msg=f"{name} {site}")
