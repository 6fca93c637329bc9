"""`qnli`: GLUE QNLI, validation: does the sentence hold the answer to the question?  0 = entailment, 1 = not."""

from __future__ import annotations

from typing import ClassVar

from culnig.benchmarks._base import BENCHMARKS
from culnig.benchmarks._external import Table
from culnig.benchmarks._glue import SPLIT, Pair


class Qnli(Pair):
    """Question answering as inference; see docs/benchmarks.md."""

    name = folder = "qnli"
    description = "GLUE QNLI, validation: does the sentence answer the question? 0, 1"
    source = "GLUE (Wang et al. 2018), texts of SQuAD, CC BY-SA 4.0; hub nyu-mll/glue"
    splits = (SPLIT,)
    tables: ClassVar = {
        "rows": Table(
            "dev.tsv",
            ("dev.tsv", "qnli/validation*.parquet", "validation*.parquet"),
            "nyu-mll/glue",
            "qnli",
            "validation",
        )
    }
    columns: ClassVar = {"id": ("idx", "index"), "first": ("question",), "second": ("sentence",), "label": ("label",)}
    labels: ClassVar = {"0": 0, "1": 1, "entailment": 0, "not_entailment": 1}
    options = ("yes", "no")
    names = ("Question", "Sentence")


BENCHMARKS.register("qnli")(Qnli())
