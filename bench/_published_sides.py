"""The two sides of `bench.published`, each a process of its own: the published scoring script, and culnig's scoring.

    python -m bench._published_sides theirs|ours JOB.json [DATASET]

A job names the model, the items of three data sets, the batch size, and folders.  The published script runs unchanged on
a copy of the clone.  What it meets is prepared from here, in this process alone: a model under a name that it admits, on
the CPU in float32, and the job's items in the place of data sets from the hub.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measure import peak_extra_bytes, status_bytes, timed

ADMITTED = "meta-llama/Llama-3.1-8B-Instruct"
"""A name that the published code admits, and under which it takes a Llama apart."""
SETS = ("blend", "blendcontrol", "countryrc")


class Meter:
    """What scoring takes in this process.

    Attributes:
        seconds: data set -> seconds of its scoring.
        beyond: most bytes that scoring holds beyond what the process held before it.
        peak: most resident bytes of the process.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.beyond = 0
        self.peak = 0

    def measure(self, name: str, function: Callable[[], Any]) -> Any:
        """Call the function, and note what it takes."""
        import torch

        made = []

        def run() -> None:
            self.seconds[name] = timed(lambda: made.append(function()))

        self.note()  # the next line resets the peak
        self.beyond = max(self.beyond, peak_extra_bytes(run, torch.device("cpu")))
        self.note()
        return made[0]

    def note(self) -> None:
        self.peak = max(self.peak, status_bytes("VmHWM"))


def published(job: dict[str, Any], dataset: str, meter: Meter) -> None:
    """Run the published scoring script on one data set; the script scores country reading, too."""
    from transformers import set_seed

    sys.modules["dataset"] = loader = types.ModuleType("dataset")  # its own needs the hub and Python 3.12
    loader.load_dataset_neuron_scores = lambda dataset_names, tokenizer, batch_size, **_: _batches(  # type: ignore[attr-defined]
        [row for name in dataset_names for row in job["items"][name]], tokenizer, batch_size
    )
    script = _module(Path(job["clone"]) / "CULNIG" / "calc_neuron_score.py")
    script.load_model = lambda name: _model(job["model"])
    script.BATCH_SIZE = job["batch_size"]
    calculate = script.calculate_scores

    def measured(model: Any, tokenizer: Any, batches: Any, logger: Any) -> Any:
        name = batches.dataset[0]["dataset_name"]
        return meter.measure(name, lambda: calculate(model, tokenizer, batches, logger))

    script.calculate_scores = measured
    sys.argv = ["calc_neuron_score.py", "--model_name", ADMITTED, "--dataset_names", dataset]
    set_seed(42)
    script.main()


def _module(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _model(name: str) -> tuple[Any, Any]:
    """Load as the published script does, but for device and type; the embedded model comes from culnig's file."""
    import torch
    import transformers as hf

    if Path(name).is_dir():
        tokenizer: Any = hf.AutoTokenizer.from_pretrained(name, padding_side="left")
        model = hf.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, attn_implementation="sdpa")
    else:
        import culnig

        lm = culnig.load_model(name)
        model, tokenizer = lm.model.requires_grad_(True), lm.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.name_or_path = ADMITTED
    return model, tokenizer


def _batches(rows: list[dict[str, str]], tokenizer: Any, size: int) -> Any:
    """Return a loader of batches with what the published script takes from one: raw text, padded on the left."""
    import torch

    pad = tokenizer.pad_token_id or 0

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        ids = [tokenizer(row["prompt"], add_special_tokens=False)["input_ids"] for row in batch]
        width = max(map(len, ids))
        return {
            "input_ids": torch.tensor([[pad] * (width - len(each)) + each for each in ids]),
            "attention_mask": torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in ids]),
            "labels": [row["label"] for row in batch],
            "countries": [row["country"] for row in batch],
            "dataset_names": [row["dataset_name"] for row in batch],
        }

    return torch.utils.data.DataLoader(rows, batch_size=size, collate_fn=collate)  # type: ignore[arg-type]


def ours(job: dict[str, Any], meter: Meter) -> None:
    """Score the same items with culnig."""
    import culnig

    lm = culnig.load_model(job["model"])
    policy = culnig.PromptPolicy(chat_template="off", formulation="mcf")
    padded = job["batch_size"] if job["batch_size"] > 1 else None
    for name in SETS:
        items = [
            culnig.Item(id=row["id"], benchmark=name, country=row["country"], prompt=row["prompt"], target=row["label"])
            for row in job["items"][name]
        ]
        options = {"policy": policy, "control": name == "blendcontrol" or None, "padded_zeros": padded}
        scores = meter.measure(name, functools.partial(culnig.score, lm, items, **options))
        scores.save(Path(job["out"]) / f"{name}.safetensors")


def main() -> None:
    side, path, *dataset = sys.argv[1:]
    job, meter = json.loads(Path(path).read_text()), Meter()
    if side == "ours":
        ours(job, meter)
    else:
        published(job, *dataset, meter)
    meter.note()
    print("METER " + json.dumps(vars(meter)))


if __name__ == "__main__":
    main()
