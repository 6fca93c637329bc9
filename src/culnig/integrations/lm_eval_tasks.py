"""Write items as tasks of lm-evaluation-harness: a YAML file and the rows (JSON Lines) for each task.

What lm-eval can express of how culnig judges an answer:

    acc          the option with the highest log-probability: calibration `none` in cf; in mcf, the best label
    acc_norm     the same for each character: calibration `length` in cf
    exact_match  the greedy next token is the right label: calibration `none` in mcf

Calibration `pmi` needs the options' log-probabilities without the question.  They are a second task, `<name>_prior`, with
the same rows; `culnig lm-eval` subtracts them.  lm-eval's own `acc_mutual_info` asks after an empty prompt, which is
another rule, so it is not written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from culnig.data import Item
from culnig.errors import UsageError
from culnig.files import check_writable, write_text
from culnig.prompts import Prompt, PromptPolicy, prompt_texts, render
from culnig.prompts.calibration import prior_items

PRIOR = "_prior"
"""End of the name of the task whose prompts lack the question."""
MARK = "culnig_task"
"""Field of a row that says that it was written here; its value is the formulation."""
LICENCE = "# Written by `culnig tasks`. The rows keep the licence of the benchmark that they come from.\n"


def write_tasks(
    items: Sequence[Item], policy: PromptPolicy, out: Path, *, name: str, tokenizer: Any = None
) -> dict[str, int]:
    """Write the tasks of some items.

    Args:
        items: the items; short answers have no options and cannot be written.
        policy: formulation, template and wordings of the prompts; its calibration does not matter.
        out: a folder; files of the same names are replaced.
        name: name of the task; the formulation is added to it.
        tokenizer: writes prompts with its chat template as the policy says; None writes them without.

    Returns:
        Task -> number of rows.

    Raises:
        UsageError: no items, a name that is none, or a folder that cannot be written.
        PromptError: an item that cannot be put as asked.
    """
    if not items:
        raise UsageError("no items to write as a task")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageError(f"'{name}' cannot be the name of a task; use letters, digits, _, - and .")
    prompts = render(items, policy)
    task = f"{name}_{policy.formulation}"
    written = {task: _write(prompts, policy, out, task, tokenizer)}
    if policy.formulation == "cf" and (priors := _priors(prompts, policy)):
        written[task + PRIOR] = _write(priors, policy, out, task + PRIOR, tokenizer)
    return written


def _priors(prompts: Sequence[Prompt], policy: PromptPolicy) -> list[Prompt]:
    """Return the same prompts without their questions; those that are ready-made have none."""
    found = []
    for prompt in prompts:
        for item in prior_items(prompt.item, "pmi"):
            found += [
                replace(twin, item=prompt.item) for twin in render([item], policy) if twin.wording == prompt.wording
            ]
    return found


def _write(prompts: Sequence[Prompt], policy: PromptPolicy, out: Path, task: str, tokenizer: Any) -> int:
    delimiter = " " if all(answer.startswith(" ") for p in prompts for answer in p.answers) else ""
    texts = prompt_texts(prompts, tokenizer, policy)
    rows = [_row(prompt, text, delimiter, policy.formulation) for prompt, text in zip(prompts, texts, strict=True)]
    data, settings = out / f"{task}.jsonl", out / f"{task}.yaml"
    check_writable(data)
    write_text(data, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_text(settings, LICENCE + _yaml(task, data.resolve(), delimiter, policy.formulation))
    return len(rows)


def _row(prompt: Prompt, text: str, delimiter: str, formulation: str) -> dict[str, Any]:
    item = prompt.item
    return {
        MARK: formulation,
        "id": item.id,
        "benchmark": item.benchmark,
        "country": item.country,
        "topic": item.topic,
        "variant": item.variant,
        "wording": prompt.wording,
        "query": text,
        "choices": [answer.removeprefix(delimiter) for answer in prompt.answers],
        "gold": prompt.gold,
    }


def _yaml(task: str, data: Path, delimiter: str, formulation: str) -> str:
    import yaml

    metrics = ["acc", "acc_norm"] if formulation == "cf" else ["acc", "exact_match"]
    settings = {
        "task": task,
        "tag": "culnig",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "query",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": delimiter,
        "num_fewshot": 0,
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics],
        "metadata": {"version": 1},
    }
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
