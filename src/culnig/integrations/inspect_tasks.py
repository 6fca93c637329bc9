"""culnig in inspect_ai: benchmarks as a task, models with changed neurons as a provider, and logs as results.

    inspect eval culnig/items -T items=everyday:test --model culnig/smollm2-135m -M neurons=g.json -M op=suppress

inspect_ai finds this file by its entry point.  Two ways of scoring:

    letter   the model writes, and the first label in its answer counts; every provider can do this (mcf)
    logprob  culnig judges the options' log-probabilities; only the provider `culnig/...` can, because inspect_ai has no
             request for the log-probability of a given text (cf, or mcf)
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    modelapi,
)
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolChoice, ToolInfo

from culnig.data import Item, load_items
from culnig.data.item_files import item_of_row, item_to_row
from culnig.errors import DataError, UsageError
from culnig.evaluation import EvalResult, evaluate
from culnig.intervention import Operation
from culnig.models import load_model
from culnig.neurons import NeuronSet, check_belongs
from culnig.passes.generation import Sampling, stream_text
from culnig.prompts import Prompt, PromptPolicy, default_calibration, encode_prompts, make_policy, render
from culnig.selection import select_random

ASK = "culnig"
"""Field of a request's `extra_body` that asks the provider `culnig` for culnig's own row."""
LABEL = re.compile(r"^\W*(\w+)")
Scoring = Literal["letter", "logprob"]


@task
def items(
    items: str = "everyday:test",
    formulation: Literal["mcf", "cf"] = "mcf",
    scoring: Scoring = "letter",
    calibration: str = "auto",
    limit_per_country: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    prefill: bool = True,
) -> Task:
    """Items of culnig as a task.

    Args:
        items: as `culnig eval --items`: a benchmark and split, or an item file.
        formulation: how they are put; letters need mcf.
        scoring: "letter" or "logprob"; see the file's docstring.
        calibration: of `logprob`; auto is what `culnig eval` takes.
        limit_per_country: a seeded sample.
        draws: option draws of each question.
        seed: seed of the sample.
        prefill: letter: begin the model's answer ("Answer:"), as culnig does; False puts that into the question, for
            providers that cannot.
    """
    if scoring == "letter" and formulation != "mcf":
        raise UsageError("scoring=letter needs formulation=mcf: in cf there are no letters; use scoring=logprob")
    kind = default_calibration(formulation) if calibration == "auto" else calibration
    policy = make_policy({"formulation": formulation, "calibration": kind})
    found = load_items(items, limit_per_country=limit_per_country, draws=draws, seed=seed)
    samples = [_sample(place, prompt, policy, prefill) for place, prompt in enumerate(render(found, policy))]
    return Task(
        dataset=MemoryDataset(samples, name=items),
        solver=ask_culnig() if scoring == "logprob" else answer_with_a_letter(),
        scorer=by_logprob() if scoring == "logprob" else by_letter(),
        config=GenerateConfig(temperature=0.0),
        metadata={"culnig": {"policy": policy.model_dump(), "scoring": scoring}},
    )


def _sample(place: int, prompt: Prompt, policy: PromptPolicy, prefill: bool) -> Sample:
    item = prompt.item
    asked: list[ChatMessage] = [ChatMessageSystem(content=prompt.system)] if prompt.system else []
    if prefill and prompt.prefix:
        asked += [ChatMessageUser(content=prompt.text), ChatMessageAssistant(content=prompt.prefix)]
    else:
        asked.append(ChatMessageUser(content="\n".join(part for part in (prompt.text, prompt.prefix) if part)))
    labels = [answer.strip() for answer in prompt.answers]
    facts: dict[str, Any] = {"id": item.id, "benchmark": item.benchmark, "country": item.country, "topic": item.topic}
    facts |= {"variant": item.variant, "wording": prompt.wording, "gold": prompt.gold}
    return Sample(
        id=f"{item.benchmark}/{item.id}/{prompt.wording}",
        input=asked,
        target=labels[prompt.gold],
        metadata={
            "place": place,
            "row": facts,
            "labels": labels,
            "item": item_to_row(item),
            "policy": policy.model_dump(),
        },
    )


@solver
def answer_with_a_letter() -> Solver:
    """Let the model write its answer; culnig's provider writes one token, as `culnig eval` reads one."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state, max_tokens=1 if state.model.api == "culnig" else 16)

    return solve


@solver
def ask_culnig() -> Solver:
    """Ask the provider `culnig` for the row of `culnig eval`."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if state.model.api != "culnig":
            raise UsageError(f"scoring=logprob needs a model culnig/..., not {state.model}; use scoring=letter")
        asked = {"item": state.metadata["item"], "policy": state.metadata["policy"]}
        return await generate(state, max_tokens=1, extra_body={ASK: asked})

    return solve


@scorer(metrics=[accuracy(), stderr()])
def by_letter() -> Scorer:
    """Right, if the first word of the answer is the right option's label."""

    async def score(state: TaskState, target: Target) -> Score:
        labels, row = state.metadata["labels"], state.metadata["row"]
        found = LABEL.match(state.output.completion)
        chosen = labels.index(found[1]) if found and found[1] in labels else -1
        made = row | {"prediction": chosen, "correct": chosen == row["gold"]}
        return Score(value="C" if made["correct"] else "I", answer=found[1] if found else "", metadata={"row": made})

    return score


@scorer(metrics=[accuracy(), stderr()])
def by_logprob() -> Scorer:
    """Right, if culnig judges it so."""

    async def score(state: TaskState, target: Target) -> Score:
        row = (state.output.metadata or {})[ASK]
        answer = state.metadata["labels"][row["prediction"]] if row["prediction"] >= 0 else ""
        return Score(value="C" if row["correct"] else "I", answer=answer, metadata={"row": row})

    return score


@modelapi(name="culnig")
class CulnigAPI(ModelAPI):
    """A model of culnig, untouched or with neurons changed.

    Model arguments: `neurons` (a file), `op`, `random_seed` (a matched random set instead), `chat_template`, `bos`,
    `dtype`, `device`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        known = {"neurons", "op", "random_seed", "chat_template", "bos", "dtype", "device"}
        if unknown := sorted(set(model_args) - known):
            raise UsageError(f"unknown model argument {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        loading = {key: str(model_args[key]) for key in ("dtype", "device") if key in model_args}
        self.lm = load_model(model_name, **loading)  # type: ignore[arg-type]
        values: dict[str, Any] = {key: model_args[key] for key in ("chat_template", "bos") if key in model_args}
        self.policy = make_policy({"formulation": "short"} | values)
        self._edit = ExitStack()
        if path := model_args.get("neurons"):
            chosen, operation = NeuronSet.load(path), Operation.parse(str(model_args.get("op", "suppress")))
            _check(chosen, self.lm, path)
            if (seed := model_args.get("random_seed")) is not None:
                chosen = select_random(chosen, self.lm.shapes, seed=int(seed))
            self._edit.enter_context(operation.on(self.lm, chosen))

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Write an answer, or judge an item where the request asks for that."""
        if asked := (config.extra_body or {}).get(ASK):
            return self._judge(asked)
        if tools:
            raise UsageError("models of culnig use no tools")
        prompt = _prompt(input)
        (ids,) = encode_prompts([prompt], self.lm.tokenizer, self.policy, self.lm.max_length)
        sampling = Sampling(config.max_tokens or 128, config.temperature or 0.0, config.top_p or 1.0, config.seed or 0)
        return ModelOutput.from_content(self.model_name, stream_text(self.lm, ids, sampling, lambda piece: None))

    def max_connections(self) -> int:
        """One request at a time: there is one model."""
        return 1

    async def aclose(self) -> None:
        """Restore the model."""
        self._edit.close()

    def _judge(self, asked: dict[str, Any]) -> ModelOutput:
        """Return the row of `culnig eval` for an item; inspect_ai keeps it in its log."""
        item = item_of_row(asked["item"])
        chat: dict[str, Any] = {"chat_template": self.policy.chat_template, "bos": self.policy.bos}
        policy = make_policy(dict(asked["policy"]) | chat)
        result = evaluate(self.lm, [item], policy=policy)
        row = _plain(result.rows.iloc[0].to_dict())
        output = ModelOutput.from_content(self.model_name, str(row["prediction"]))
        meta = {
            key: value for key, value in result.meta.items() if key in ("model", "model_hash", "formulation", "prompts")
        }
        output.metadata = {ASK: row, "meta": meta}
        return output


def _check(chosen: NeuronSet, lm: Any, path: Any) -> None:
    made_on = chosen.provenance.get("model_hash")
    if made_on and not lm.is_model(made_on):
        raise UsageError(f"{path} was made on another model ('{chosen.model_name}', hash {made_on})")
    check_belongs(chosen, lm.shapes, lm.name)


def _prompt(messages: list[ChatMessage]) -> Prompt:
    """Return a conversation as a prompt: system messages, one question, and perhaps the beginning of the answer."""
    system = "\n".join(m.text for m in messages if m.role == "system")
    rest = [m for m in messages if m.role != "system"]
    roles = [m.role for m in rest]
    if roles not in (["user"], ["user", "assistant"]):
        raise UsageError("models of culnig take one question (and the beginning of an answer), not a conversation")
    prefix = rest[1].text if len(rest) == 2 else ""
    return Prompt(Item("request", "inspect", "", prompt=rest[0].text), "", rest[0].text, prefix, (), 0, system)


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a row's values as JSON has them."""
    plain = {str(key): value.tolist() if hasattr(value, "tolist") else value for key, value in row.items()}
    return {key: value for key, value in plain.items() if value is not None and value == value}


def read_log(path: Path | str) -> EvalResult:
    """Turn a log of the task `items` into a result, for culnig's paired statistics.

    Raises:
        DataError: the log is not of this task, or not finished.
    """
    log = read_eval_log(str(path))
    if log.status != "success" or not log.samples:
        raise DataError(f"{path}: the evaluation is not finished (status {log.status})")
    samples = sorted(log.samples, key=lambda sample: sample.metadata.get("place", 0))
    rows = [
        s.metadata["row"] for sample in samples for s in (sample.scores or {}).values() if "row" in (s.metadata or {})
    ]
    if len(rows) != len(log.samples):
        raise DataError(f"{path}: not a log of the task culnig/items")
    made = (log.eval.metadata or {}).get("culnig", {})
    meta = {
        "model": log.eval.model,
        "prompts": made.get("policy", {}),
        "formulation": made.get("policy", {}).get("formulation"),
    }
    return EvalResult(pd.DataFrame(rows), meta | {"inspect": {"scoring": made.get("scoring"), "task": log.eval.task}})
