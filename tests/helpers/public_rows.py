"""Invented rows in the documented schemas of public benchmarks, as they are on the hub."""

from __future__ import annotations

import json
from typing import NamedTuple

from tests.helpers.benchmark_files import blend_row, culture_rows


class Hub(NamedTuple):
    """A benchmark on the hub: its id, and config -> split -> rows."""

    hub: str
    configs: dict[str, dict[str, list[dict]]]


def letters(*options):
    return {f"option_{letter}": option for letter, option in zip("abcd", options, strict=True)}


def lists(*texts):
    return {"label": list("ABCDE"[: len(texts)]), "text": list(texts)}


def annotated(country, *texts):
    told = [{"answers": [t], "en_answers": [t], "count": 3} for t in texts]
    return {"ID": "Q-01", "question": "?", "en_question": f"What is eaten in {country}?", "annotations": told}


ASKED = [{"ID": f"Q-0{n}", "Topic": t, "Question": "?", "Translation": "?"} for n, t in ((1, "Food"), (3, "Education"))]
ANNOTATED = {"US": "clay", "Iran": "salt", "China": "moss", "Spain": "bark", "Mexico": "slate"}
FORK = [
    {"ID": f"f{n}", "Question": f"How {n}?", "Option A": "loudly", "Option B": "softly", "Answer Key": "AB"[n % 2]}
    | {"Country": ("UAE", "South Korea")[n // 2], "Type": "Explicit", "Dimension": "Tipping"}
    for n in range(4)
]
JUDGED = [("CS", "['Iran']"), ("CS", "['United States of America (USA)']"), ("CS", "['Iran', 'Peru']")]
JUDGED += [("CS", "[]"), ("CA", "[]"), ("-", "[]")]
GLOBAL = [
    {"sample_id": f"law/test/{n}", "subject": "law", "subject_category": "Other", "question": f"Which {n}?"}
    | letters("a", "b", "c", "d")
    | {"answer": "D", "culture": "[]", "region": "[]", "country": country, "cultural_sensitivity_label": label}
    for n, (label, country) in enumerate(JUDGED)
]
INCLUDE = [
    {"language": "Albanian", "country": "Albania", "domain": "STEM", "subject": "s", "regional_feature": feature}
    | {"level": "l", "question": "Cila?", **letters("a", "b", "c", "d"), "answer": 2}
    for feature in ("region explicit", "culture", "agnostic")
]
COPAL = [
    {"premise": f"Hujan {n}.", "choice1": "Basah.", "choice2": "Kering.", "question": ("cause", "effect")[n % 2]}
    | {"idx": n, "label": n % 2, "Terminology": 1, "Culture": n % 2, "Language": 0}
    for n in range(4)
]
MMLU = [
    {"question": f"Sum {n}?", "subject": "sums", "choices": ["0", "1", "2", "3"], "answer": n} for n in range(4)
] + [{"question": "Same?", "subject": "sums", "choices": ["0", "1", "1", "3"], "answer": 0}]
ARC = [
    {"id": "x1", "question": "Why?", "choices": lists("sun", "moon", "mud"), "answerKey": "B"},
    {"id": "x2", "question": "How?", "choices": {"label": ["1", "2"], "text": ["ice", "fog"]}, "answerKey": "2"},
]
HELLASWAG = [
    {"ind": 7, "activity_label": "Sewing", "ctx_a": "She [header] sews.", "ctx_b": "", "ctx": "She [header] sews."}
    | {"endings": ["Then one.", "Then two. [step] Done.", "Then three.", "Then four."]}
    | {"source_id": "wikihow~1", "split": "val", "split_type": "indomain", "label": label}
    for label in ("1", "")
]
PIQA = [
    {"goal": "Dry a cup", "sol1": "with a cloth", "sol2": "with a brick", "label": 0},
    {"goal": "Wet a cup", "sol1": "with sand", "sol2": "with water", "label": 1},
]
WINOGRANDE = [
    {"sentence": "The cup fits the bag as _ is small.", "option1": "the bag", "option2": "the cup", "answer": "2"},
    {"sentence": "The cup fits the bag as _ is wide.", "option1": "the bag", "option2": "the cup", "answer": ""},
]
BLIMP = [
    {"sentence_good": f"A cat {n} sleeps.", "sentence_bad": f"A cat {n} sleep.", "field": "morphology"}
    | {"linguistics_term": "agreement", "UID": "agreement_1", "simple_LM_method": True, "one_prefix_method": True}
    | {"two_prefix_method": False, "lexically_identical": False, "pair_id": n}
    for n in range(3)
]
PASSAGE = "Ann put the apple beside the melon and the cherry near Bob . Later he ate the"
LAMBADA = [{"text": f"{PASSAGE} melon"}, {"text": f"{PASSAGE} bread"}, {"text": f"{PASSAGE} Bob"}]

HUBS = {
    "blend": Hub(
        "nayeon212/BLEnD",
        {
            "multiple-choice-questions": {"test": [blend_row(n) for n in range(4)]},
            "short-answer-questions": {"US": ASKED, "Iran": ASKED},
        },
    ),
    "blend_built": Hub(
        "nayeon212/BLEnD",
        {
            "annotations": {place: [annotated(place, text)] * 1 for place, text in ANNOTATED.items()},
            "short-answer-questions": {"US": ASKED},
        },
    ),
    "culturalbench": Hub("kellycyy/CulturalBench", {"CulturalBench-Easy": {"test": culture_rows()}}),
    "normad": Hub(
        "akhilayerukola/NormAd",
        {
            "default": {
                "train": [
                    {"ID": n, "Country": "japan", "Subaxis": "gifts", "Story": f"{n} hums."}
                    | {"Gold Label": ("yes", "no", "neutral")[n]}
                    for n in range(3)
                ]
            }
        },
    ),
    "commonsenseqa": Hub(
        "tau/commonsense_qa",
        {
            "default": {
                "validation": [
                    {"id": "c1", "question": "Where?", "question_concept": "x"}
                    | {"choices": lists("hat", "cup", "pit", "log", "pea"), "answerKey": "E"}
                ]
            }
        },
    ),
    "commonsenseqa_train": Hub(
        "tau/commonsense_qa",
        {
            "default": {
                "train": [
                    {"id": "c2", "question": "What?", "question_concept": "x"}
                    | {"choices": lists("hat", "cup", "pit", "cup", "pea"), "answerKey": "A"}
                ]
            }
        },
    ),
    "qnli": Hub(
        "nyu-mll/glue",
        {"qnli": {"validation": [{"question": "Who?", "sentence": "A man.", "label": 1, "idx": 0}]}},
    ),
    "mrpc": Hub("nyu-mll/glue", {"mrpc": {"test": [{"sentence1": "A.", "sentence2": "B.", "label": 1, "idx": 0}]}}),
    "qnli_train": Hub(
        "nyu-mll/glue",
        {"qnli": {"train": [{"question": "Who?", "sentence": "A man.", "label": 1, "idx": 0}]}},
    ),
    "mrpc_train": Hub(
        "nyu-mll/glue", {"mrpc": {"train": [{"sentence1": "A.", "sentence2": "B.", "label": 1, "idx": 0}]}}
    ),
    "copal": Hub("haryoaw/COPAL", {"id": {"test": COPAL, "test_colloquial": COPAL[:3]}}),
    "global_mmlu_cs": Hub("CohereLabs/Global-MMLU", {"en": {"test": GLOBAL}}),
    "include": Hub(
        "CohereLabs/include-base-44",
        {
            "Albanian": {"test": INCLUDE},
            "Basque": {"test": [row | {"language": "Basque", "country": "Spain"} for row in INCLUDE]},
        },
    ),
    "mmlu": Hub("cais/mmlu", {"all": {"test": MMLU}}),
    "arc_easy": Hub("allenai/ai2_arc", {"ARC-Easy": {"test": ARC}}),
    "arc_challenge": Hub("allenai/ai2_arc", {"ARC-Challenge": {"test": ARC}}),
    "hellaswag": Hub("Rowan/hellaswag", {"default": {"validation": HELLASWAG}}),
    "piqa": Hub("ybisk/piqa", {"default": {"validation": PIQA}}),
    "winogrande": Hub("allenai/winogrande", {"winogrande_xl": {"validation": WINOGRANDE}}),
    "blimp": Hub(
        "nyu-mll/blimp",
        {
            "agreement_1": {"train": BLIMP},
            "agreement_2": {"train": [row | {"UID": "agreement_2"} for row in BLIMP]},
        },
    ),
    "lambada": Hub("EleutherAI/lambada_openai", {"default": {"test": LAMBADA}}),
}
"""Benchmark -> its layout on the hub, as its data card says.  FORK, GeoMLAMA and the World Values Survey are not there."""


def write_hub(folder, name):
    """Write a benchmark as a folder of the hub's name, which the library `datasets` takes for the hub's."""
    import pandas as pd

    hub, configs = HUBS[name]
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            path = folder / hub / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).to_parquet(path)
            lines.append(f"  - {{split: {split}, path: {config}/{path.name}}}")
    (folder / hub / "README.md").write_text("\n".join([*lines, "---", ""]))


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
