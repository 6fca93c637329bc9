"""Whole texts as options: which of them does the model find more probable?

Nothing is asked, so the prompt is only a line break.  It gives a tokenizer without BOS a first token to predict from.
Such a prompt has no question to take away, so results are not calibrated by pmi.  mcf needs a question (`asked-`).
"""

from __future__ import annotations

from culnig.data.items import Item

BEGINNING = "\n"


def sentence_item(item: Item, form: str, question: str) -> Item:
    """Return the item in a form: "asked" with a question and listed options, "" by the probability of its options.

    Args:
        item: id, benchmark, options, answer and topic; `prompt` if there is more than a line break before the options.
        form: "asked" or "".
        question: what is asked in the form "asked".
    """
    common = {"id": item.id, "benchmark": item.benchmark, "country": "none", "topic": item.topic, "answer": item.answer}
    options = item.options
    if form == "asked":
        return Item(**common, question=question, options=tuple(o.strip() for o in options), shuffle=True)  # type: ignore[arg-type]
    return Item(**common, prompt=item.prompt or BEGINNING, target=options[item.answer], options=options)  # type: ignore[arg-type]
