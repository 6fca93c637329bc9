"""`lambada`: LAMBADA, test: the last word of a passage, which only the whole passage shows.

LAMBADA has no options.  The published accuracy asks whether the right word is the most probable one of all words.  Here
it stands beside three other words of its passage, as in Chu et al. 2017 (arXiv 1610.08431), who read LAMBADA as a choice
among the passage's words.  Passages that do not hold their last word before are left out, as there.  The number is not
comparable with published ones.  A change of it still shows what was lost.

It reads hub EleutherAI/lambada_openai and OpenAI's lambada_test.jsonl (`text`), hub cimec/lambada (`text`, `domain`), and
the original lambada_test_plain_text.txt, a passage a line.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import ABILITY, Parted, asked, numbered
from culnig.benchmarks._sentences import sentence_item
from culnig.data.items import BENCHMARKS, Item
from culnig.data.options import place
from culnig.data.sources import Source, Table
from culnig.errors import DataError

WRONG = 3
SHORTEST = 3
"""Letters of a wrong word at least."""


class Lambada(Parted):
    """The last word of a passage; see docs/benchmarks.md."""

    name = folder = "lambada"
    description = "LAMBADA, test: the last word of a passage among four of its words, ability"
    source = "LAMBADA (Paperno et al. 2016), CC BY 4.0; hub EleutherAI/lambada_openai"
    splits = asked(ABILITY)
    tables: ClassVar = {
        "rows": Table(
            "lambada_test.jsonl",
            ("lambada_test*.jsonl", "lambada_test_plain_text.txt", "*test*.parquet"),
            "EleutherAI/lambada_openai",
            "default",
            columns=("text",),
        )
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for number, row in numbered(source.rows("rows")):
            before, blank, word = row.text("text").rpartition(" ")
            if not blank or not re.search(r"\w", word):
                raise DataError(f"{row.where}: the text does not end in a word: {row.text('text')[-40:]!r}")
            words = dict.fromkeys(re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", before))
            wrong = [w for w in words if w.casefold() != word.casefold() and _alike(w, word)]
            if word not in words:
                source.account.leave_out("the last word does not stand in the passage before")
            elif len(wrong) < WRONG:
                source.account.leave_out(f"fewer than {WRONG} other words of its kind in the passage")
            else:
                rng = random.Random(f"{seed}/{number}")
                options, answer = place(word, rng.sample(wrong, WRONG), number, rng)
                options = tuple(f" {option}" for option in options)
                item = Item(str(number), self.name, "none", options=options, answer=answer, prompt=before)
                yield sentence_item(item, form, f"Which word comes next?\n{before} ...")


BENCHMARKS.register("lambada")(Lambada())


def _alike(wrong: str, word: str) -> bool:
    """Return whether a wrong word is long enough, and a name or none like the right word."""
    return len(wrong) >= SHORTEST and wrong[0].isupper() == word[0].isupper()
