"""GLUE's sentence pairs: two labels, shown as 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import External, Source, Table, unique
from culnig.data.tables import Row
from culnig.errors import DataError


class Pair(External):
    """Base of the GLUE tasks; a task names its columns, as on the hub and as in the original files."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]]
    """The columns of `id`, `first`, `second` and `label`."""
    labels: ClassVar[Mapping[str, int]]
    """Label -> 0 or 1, for the hub's numbers and the original file's words."""
    options: tuple[str, str]
    """Meaning of 0 and 1; in the completion formulation these are the answers."""
    names: tuple[str, str]
    """Names of the two sentences in the prompt."""
    template: str
    """The prompt template, which training and evaluation share."""

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        for row in self._unique(source):
            yield Item(
                id=row.text("id"),
                benchmark=self.name,
                country="none",
                question=f"{self.names[0]}: {row.text('first')}\n{self.names[1]}: {row.text('second')}",
                options=self.options,
                answer=row.label("label", self.labels),
                template=self.template,
            )

    def _unique(self, source: Source) -> Iterator[Row]:
        return unique(map(self._renamed, source.rows("rows")), "id")

    def _renamed(self, row: Row) -> Row:
        values = {}
        for name, columns in self.columns.items():
            found = [column for column in columns if column in row.values]
            if not found:
                raise DataError(f"{row.where}: no column '{' or '.join(columns)}'; there are: {', '.join(row.values)}")
            texts = [str(row.values[column]) for column in found]
            values[name] = "-".join(texts) if name == "id" else texts[0]
        return Row(row.where, row.table, values)


SPLIT = Split("all", "every row: to evaluate", default=True)
TRAIN = Split("all", "every row: to fine-tune on", default=True)


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
    template = "mrpc"


BENCHMARKS.register("mrpc")(Mrpc())


class MrpcTrain(Mrpc):
    """Paraphrases to fine-tune on."""

    name = "mrpc_train"
    description = "GLUE MRPC, train: the same to fine-tune on"
    splits = (TRAIN,)
    tables: ClassVar = {
        "rows": Table(
            "msr_paraphrase_train.txt",
            ("msr_paraphrase_train.txt", "mrpc/train*.parquet", "train*.parquet"),
            "nyu-mll/glue",
            "mrpc",
            "train",
        )
    }


BENCHMARKS.register("mrpc_train")(MrpcTrain())


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
    template = "qnli"


BENCHMARKS.register("qnli")(Qnli())


class QnliTrain(Qnli):
    """Question answering as inference, to fine-tune on; the paper takes 10,000 rows (`limit_per_country: 10000`)."""

    name = "qnli_train"
    description = "GLUE QNLI, train: the same to fine-tune on"
    splits = (TRAIN,)
    tables: ClassVar = {
        "rows": Table(
            "train.tsv",
            ("train.tsv", "qnli/train*.parquet", "train*.parquet"),
            "nyu-mll/glue",
            "qnli",
            "train",
        )
    }


BENCHMARKS.register("qnli_train")(QnliTrain())
