"""`mrpc`: GLUE MRPC, test: do two sentences say the same?  1 = paraphrase, 0 = not."""

from __future__ import annotations

from typing import ClassVar

from culnig.benchmarks._base import BENCHMARKS
from culnig.benchmarks._external import Table
from culnig.benchmarks._glue import SPLIT, Pair


class Mrpc(Pair):
    """Paraphrases; see docs/benchmarks.md."""

    name = folder = "mrpc"
    description = "GLUE MRPC, test: are the two sentences paraphrases? 0, 1"
    source = "Microsoft Research Paraphrase Corpus, in GLUE; hub nyu-mll/glue"
    splits = (SPLIT,)
    tables: ClassVar = {
        "rows": Table(
            "msr_paraphrase_test.txt",
            ("msr_paraphrase_test.txt", "mrpc/test*.parquet", "test*.parquet"),
            "nyu-mll/glue",
            "mrpc",
            "test",
        )
    }
    columns: ClassVar = {
        "id": ("idx", "#1 ID", "#2 ID"),
        "first": ("sentence1", "#1 String"),
        "second": ("sentence2", "#2 String"),
        "label": ("label", "Quality"),
    }
    labels: ClassVar = {"0": 0, "1": 1}
    options = ("no", "yes")
    names = ("First sentence", "Second sentence")


BENCHMARKS.register("mrpc")(Mrpc())
