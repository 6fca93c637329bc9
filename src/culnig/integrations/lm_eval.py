"""Run lm-evaluation-harness on a model as it is, with a set changed, and with random sets; read its samples as results."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from culnig.errors import CulnigError, UsageError
from culnig.evaluation import EvalResult
from culnig.evaluation.judging import judged, kept
from culnig.integrations.extras import needed
from culnig.integrations.lm_eval_tasks import MARK, PRIOR
from culnig.models import LanguageModel
from culnig.prompts.calibration import Offsets

TAKEN = (
    *(
        "--tasks",
        "-t",
        "--num_fewshot",
        "-f",
        "--batch_size",
        "-b",
        "--max_batch_size",
        "--limit",
        "-L",
        "--samples",
        "-E",
    ),
    *("--apply_chat_template", "--system_instruction", "--fewshot_as_multiturn", "--gen_kwargs", "--include_path"),
    *("--seed", "--confirm_run_unsafe_code", "--metadata", "--verbosity", "-v", "--check_integrity"),
)
"""The options of lm-eval that make sense here."""
OURS = {
    "--model": "culnig's --model",
    "--model_args": "culnig's own options",
    "--device": "culnig's --device",
    "--output_path": "culnig's --out",
    "--use_cache": "nothing: a cache would give the untouched model's answers to the changed one",
}
"""Options of lm-eval that culnig replaces, and by what."""
WHO = "`culnig lm-eval`"


class Harness(NamedTuple):
    """A model in lm-eval's hands, and what it is to be asked.

    Attributes:
        module: the package lm_eval.
        model: its wrapper around the model.
        options: arguments of `lm_eval.simple_evaluate`.
    """

    module: Any
    model: Any
    options: dict[str, Any]


def check_installed() -> None:
    """Import lm-eval, before a model is loaded.

    Raises:
        UsageError: it is not installed.
    """
    needed("lm_eval", "lm-eval", WHO)


def check_arguments(arguments: Sequence[str]) -> None:
    """Check that lm-eval's arguments leave model, cache and outputs to culnig.

    Raises:
        UsageError: an option that would not do what it says here.
    """
    for argument in arguments:
        name = argument.partition("=")[0]
        if not name.startswith("-") or name in TAKEN or name.lstrip("-").replace(".", "").isdigit():
            continue
        instead = f"; use {OURS[name]}" if name in OURS else f"; those that are: {', '.join(TAKEN)}"
        raise UsageError(f"{name} of lm-eval is not taken after --{instead}")
    if not {"--tasks", "-t"} & {argument.partition("=")[0] for argument in arguments}:
        raise UsageError(
            "which tasks? give lm-eval's arguments after --, for example: -- --tasks hellaswag --limit 100"
        )


def harness(lm: LanguageModel, arguments: Sequence[str], bos: str = "auto") -> Harness:
    """Give a model to lm-eval, and read its arguments.

    Args:
        lm: the untouched model.
        arguments: as on lm-eval's own command line, without model and outputs.
        bos: auto (what the tokenizer does), on, off.

    Raises:
        UsageError: lm-eval is not installed, an argument is not taken, or no such task.
    """
    check_arguments(arguments)
    module = needed("lm_eval", "lm-eval", WHO)
    verbose = any(a.partition("=")[0] in ("--verbosity", "-v") for a in arguments)
    for name in ("lm_eval", "lm-eval"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    config, tasks = _parsed(arguments)
    wrapper = needed("lm_eval.models.huggingface", "lm-eval", WHO).HFLM(
        pretrained=lm.model,
        tokenizer=copy.deepcopy(lm.tokenizer),  # lm-eval may give it a padding token
        batch_size=config.batch_size,
        max_batch_size=config.max_batch_size or 64,
        add_bos_token={"auto": None, "on": True, "off": False}[bos],
    )
    seeds = dict(
        zip(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), config.seed, strict=False)
    )
    same = ("num_fewshot", "limit", "samples", "system_instruction", "apply_chat_template", "gen_kwargs", "metadata")
    options = {name: getattr(config, name) for name in same} | seeds
    options |= {"fewshot_as_multiturn": bool(config.fewshot_as_multiturn), "task_manager": tasks, "bootstrap_iters": 0}
    options |= {"tasks": config.tasks, "confirm_run_unsafe_code": bool(config.confirm_run_unsafe_code)}
    return Harness(module, wrapper, options | {"log_samples": True})


def _parsed(arguments: Sequence[str]) -> tuple[Any, Any]:
    """Return lm-eval's own reading of its arguments, and its manager of tasks."""
    cli = needed("lm_eval._cli.harness", "lm-eval", WHO)
    settings = needed("lm_eval.config.evaluate_config", "lm-eval", WHO)
    try:
        config = settings.EvaluatorConfig.from_cli(cli.HarnessCLI()._parser.parse_args(["run", *arguments]))
        tasks = config.process_tasks(config.metadata)
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise UsageError(f"lm-eval does not take these arguments: {' '.join(str(error).split())}") from error
    if not config.tasks:
        raise UsageError("lm-eval has no such tasks; `lm-eval ls tasks` lists them, and `culnig tasks` writes ours")
    return config, tasks


def run(given: Harness, conditions: Mapping[str, AbstractContextManager[Any]]) -> dict[str, dict[str, Any]]:
    """Run the tasks under every condition.

    Args:
        given: the model and the tasks.
        conditions: name -> block in which the model is in that state.

    Returns:
        Condition -> what `lm_eval.simple_evaluate` returns, per-sample logs included.

    Raises:
        CulnigError: lm-eval fails; the message has its reason.
    """
    found = {}
    for name, block in conditions.items():
        with block:
            try:
                tasks = copy.deepcopy(given.options["tasks"])  # lm-eval may change what it is given
                done = given.module.simple_evaluate(model=given.model, **given.options | {"tasks": tasks})
            except CulnigError:
                raise
            except Exception as error:  # a task is a program of its author and can raise any exception
                reason = " ".join(str(error).split())[:300]
                raise CulnigError(f"lm-eval fails ({name}): {type(error).__name__}: {reason}") from error
        found[name] = done
    return found


class Samples(NamedTuple):
    """What one condition's samples say.

    Attributes:
        results: (task, metric) -> result; its column `correct` is the metric of each sample.
        unpaired: "task: metric" of the metrics that are no number for each sample, such as F1 over all of them.
    """

    results: dict[tuple[str, str], EvalResult]
    unpaired: list[str]


def read_samples(samples: Mapping[str, Sequence[Mapping[str, Any]]], meta: Mapping[str, Any]) -> Samples:
    """Turn lm-eval's per-sample logs into results.

    A task of `culnig tasks` becomes the result that `culnig eval` writes, without calibration; the others get one result
    for each metric.

    Args:
        samples: task -> its samples.
        meta: what the results record: model, versions, intervention.
    """
    found: dict[tuple[str, str], EvalResult] = {}
    unpaired: list[str] = []
    for task, rows in samples.items():
        if task.endswith(PRIOR) and rows and MARK in rows[0]["doc"]:
            continue
        if rows and MARK in rows[0]["doc"]:
            priors = {_key(row["doc"]): _logprobs(row) for row in samples.get(task + PRIOR, ())}
            formulation = rows[0]["doc"][MARK]
            frame = pd.DataFrame([_ours(row, formulation, priors) for row in rows])
            found[task, "correct"] = EvalResult(
                frame, {**meta, "formulation": formulation, "prompts": {"calibration": "none"}}
            )
            continue
        for metric in dict.fromkeys(name for row in rows for name in row["metrics"]):
            made = [_foreign(task, row, metric) for row in rows if metric in row]
            if all(isinstance(row["correct"], int | float) for row in made):
                found[task, metric] = EvalResult(pd.DataFrame(made), {**meta, "metric": metric})
            else:
                unpaired.append(f"{task}: {metric}")
    return Samples(found, unpaired)


def with_priors(result: EvalResult, untouched: EvalResult) -> EvalResult:
    """Return a result judged by `pmi`, with the untouched model's log-probabilities without the question.

    Raises:
        UsageError: the samples have none, because the `_prior` task was not run.
    """
    keys = ["benchmark", "id", "wording"]
    columns = ["option_lengths", "pmi_offsets", "contrast_offsets"]
    return result.with_offsets(untouched.rows[keys + columns]).calibrated("pmi")


def _key(doc: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(doc["benchmark"]), str(doc["id"]), str(doc["wording"])


def _logprobs(row: Mapping[str, Any]) -> np.ndarray:
    return np.array([float(answer[0]) for answer in row["filtered_resps"]])


def _ours(
    row: Mapping[str, Any], formulation: str, priors: Mapping[tuple[str, str, str], np.ndarray]
) -> dict[str, Any]:
    doc, logprobs = row["doc"], _logprobs(row)
    prior = priors.get(_key(doc))
    offsets = Offsets(tuple(map(len, doc["choices"])), None if prior is None else tuple(prior.tolist()))
    chosen = [number for number, answer in enumerate(row["filtered_resps"]) if bool(answer[1])]
    greedy = (chosen[0] if chosen else -1) if formulation == "mcf" else None
    same = {name: doc[name] for name in ("id", "benchmark", "country", "topic", "variant", "wording", "gold")}
    return {
        **same,
        "option_logprobs": logprobs.tolist(),
        **judged(logprobs, doc["gold"], "none", offsets, greedy),
        **kept(offsets),
        **({} if greedy is None else {"greedy": greedy}),
    }


def _foreign(task: str, row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return a row of a task that is not ours; the filter stands where the wording does."""
    value = row[metric]
    name = f"{row['doc_id']}-{str(row['doc_hash'])[:8]}"
    value = float(value) if isinstance(value, int | float | np.number) and not isinstance(value, complex) else value
    where = {"id": name, "benchmark": task, "country": "", "topic": "", "variant": "", "wording": str(row["filter"])}
    return where | {"correct": value}
