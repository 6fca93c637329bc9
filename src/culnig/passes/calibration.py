"""Measure what calibrates options: log-probabilities after prompts without the question, or about other countries.

Offsets belong to the untouched model.  They are kept with it, so each is measured once, whatever edits follow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from culnig import distributed
from culnig.errors import DataError
from culnig.files import sha256_json
from culnig.models import LanguageModel
from culnig.passes.answers import answer_batches, answers_of
from culnig.passes.forward import Packed
from culnig.prompts import Encoded, PromptPolicy, encode, load_template, render
from culnig.prompts.calibration import Calibration, Offsets, needed, prior_items
from culnig.sealed import load_rows, save_rows

CHUNK = 256
"""After this many prompts, the known offsets may be saved."""

Known = dict[str, dict[str, tuple[float, ...] | None]]
"""Key of a prompt -> kind -> offsets; None if the kind has no meaning for the prompt."""


def offsets_of(
    lm: LanguageModel,
    encoded: Sequence[Encoded],
    policy: PromptPolicy,
    *,
    kinds: Sequence[Calibration] | None = None,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
    save: Callable[[], None] | None = None,
) -> list[Offsets]:
    """Return what calibrates each prompt's options; measure unknown offsets on the untouched model.

    Args:
        lm: the model; its edits are undone while offsets are measured, unless the policy says `current`.
        encoded: the prompts, made under `policy`.
        policy: formulation, chat template, and the calibration that says which kinds are needed.
        kinds: measure these kinds instead of those that the policy's calibration needs.
        token_budget: padded tokens a batch.
        progress: called with the number of prompts done.
        save: called from time to time on all processes; it saves the known offsets (`save_offsets`).
    """
    wanted = needed(policy.calibration) if kinds is None else tuple(kinds)
    anew = policy.offsets_from == "current"
    known: Known = {} if anew else lm.offsets
    if not wanted:
        return [Offsets(e.lengths) for e in encoded]
    keys = offset_keys(encoded, policy)
    todo = list(_lacking(known, keys, encoded, wanted).items())
    if progress:
        progress(len(keys) - len(todo))
    for start in range(0, len(todo), CHUNK):
        part = todo[start : start + CHUNK]
        for kind in wanted:
            lacking = [(key, e) for key, e in part if kind not in known.get(key, {})]
            if lacking and anew:
                found = _measured(lm, [e for _, e in lacking], policy, kind, token_budget)
            elif lacking:
                with lm.untouched():
                    found = _measured(lm, [e for _, e in lacking], policy, kind, token_budget)
            for (key, _), values in zip(lacking, found if lacking else [], strict=True):
                known.setdefault(key, {})[kind] = values
        if progress:
            progress(len(part))
        if save:
            save()
    return [
        Offsets(e.lengths, known[key].get("pmi"), known[key].get("contrast"))
        for key, e in zip(keys, encoded, strict=True)
    ]


@contextmanager
def forgetting(lm: LanguageModel, wanted: bool = True) -> Iterator[None]:
    """Drop at the end of the block the offsets that were measured within it, if that is wanted: they take 500 bytes a prompt."""
    before = set(lm.offsets) if wanted else set()
    try:
        yield
    finally:
        for key in lm.offsets.keys() - before if wanted else ():
            del lm.offsets[key]


def lacks_offsets(
    lm: LanguageModel, encoded: Sequence[Encoded], policy: PromptPolicy, kinds: Sequence[Calibration]
) -> bool:
    """Return whether some offsets of these kinds are unknown."""
    return bool(_lacking(lm.offsets, offset_keys(encoded, policy), encoded, kinds))


def _lacking(
    known: Known, keys: Sequence[str], encoded: Sequence[Encoded], kinds: Sequence[Calibration]
) -> dict[str, Encoded]:
    """Return the prompts, by their keys, of which some kind is unknown."""
    return {key: e for key, e in zip(keys, encoded, strict=True) if not known.get(key, {}).keys() >= set(kinds)}


def prior_batches(
    lm: LanguageModel,
    encoded: Sequence[Encoded],
    policy: PromptPolicy,
    kinds: Sequence[Calibration],
    token_budget: int,
) -> list[Sequence[Packed]]:
    """Return the batches that measuring the offsets of some kinds would run; for plans."""
    found: list[Sequence[Packed]] = []
    for kind in kinds:
        for start in range(0, len(encoded), CHUNK):
            made = [twin for twins in _twins(lm, encoded[start : start + CHUNK], policy, kind) for twin in twins]
            found += answer_batches(made, token_budget) if made else []
    return found


def _measured(
    lm: LanguageModel, encoded: Sequence[Encoded], policy: PromptPolicy, kind: Calibration, token_budget: int | None
) -> list[tuple[float, ...] | None]:
    """Return the offsets of one kind; None if the kind has no meaning for a prompt."""
    twins = _twins(lm, encoded, policy, kind)
    flat = [twin for several in twins for twin in several]
    if not flat:
        return [None] * len(encoded)
    answers = iter(answers_of(lm, flat, token_budget=token_budget))
    found: list[tuple[float, ...] | None] = []
    for several in twins:
        logprobs = [next(answers)[0] for _ in several]
        found.append(tuple(np.mean(logprobs, axis=0).tolist()) if logprobs else None)
    return found


def _twins(
    lm: LanguageModel, encoded: Sequence[Encoded], policy: PromptPolicy, kind: Calibration
) -> list[list[Encoded]]:
    """Return the prompts that measure each prompt's offsets, in the same wording and order of options."""
    number, prompts = [], []
    for e in encoded:
        mine = [p for item in prior_items(e.item, kind) for p in render([item], policy) if p.wording == e.wording]
        prompts += mine
        number.append(len(mine))
    made = iter(encode(prompts, lm.tokenizer, policy, lm.max_length) if prompts else [])
    return [[next(made) for _ in range(count)] for count in number]


def offset_keys(encoded: Sequence[Encoded], policy: PromptPolicy) -> list[str]:
    """Return the key of each prompt's offsets: the hash of its tokens, its country and its template."""
    templates: dict[str, str] = {}
    keys = []
    for e in encoded:
        name = "" if e.item.prompt is not None else policy.template_of(e.item.template)
        if name not in templates:
            wordings = getattr(load_template(name), policy.formulation) if name else None
            templates[name] = sha256_json([policy.system, wordings.model_dump() if wordings else None])
        made_of = json.dumps([e.prompt_ids, e.answer_ids, e.item.country, e.wording, templates[name]])
        keys.append(hashlib.blake2b(made_of.encode(), digest_size=16).hexdigest())
    return keys


def save_offsets(lm: LanguageModel, path: Path, only: Collection[str] | None = None) -> None:
    """Write a model's known offsets as Parquet, atomically; only the main process writes.

    Args:
        lm: the model.
        path: the file.
        only: keys of prompts (`offset_keys`); None is all.
    """
    import pyarrow as pa

    if not distributed.is_main():
        return
    known = [(key, lm.offsets[key]) for key in sorted(lm.offsets) if only is None or key in only]
    rows = [(key, kind, values) for key, kinds in known for kind, values in kinds.items()]
    table = pa.table(
        {
            "prompt": [key for key, _, _ in rows],
            "kind": [kind for _, kind, _ in rows],
            "offsets": pa.array([values for _, _, values in rows], pa.list_(pa.float64())),
        }
    )
    save_rows(path, table, {"format": 1, **lm.description})


def load_offsets(lm: LanguageModel, path: Path, *, of_base: bool = False) -> bool:
    """Load offsets that were measured before; return False if the file is of another model.

    Args:
        lm: the model.
        path: a file that `save_offsets` wrote.
        of_base: whether to accept the offsets of the model from which this one was tuned, so that both are judged
            alike.

    Raises:
        DataError: the file is not a file of offsets.
    """
    try:
        table, meta = load_rows(path, "a file of offsets")
        rows = list(zip(*(table[name].to_pylist() for name in ("prompt", "kind", "offsets")), strict=True))
    except (DataError, KeyError, ValueError) as error:
        raise DataError(f"{path}: damaged, or not a file of offsets; delete it, and it is measured again") from error
    if not of_base and not lm.is_model((meta or {})["model_hash"]):
        return False
    for key, kind, values in rows:
        lm.offsets.setdefault(key, {})[kind] = None if values is None else tuple(values)
    return True
