"""Neuron cards: on which questions and tokens the best neurons count, what they write, and what silencing one costs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from culnig import distributed
from culnig.data import Item, load_texts
from culnig.evaluation import EvalResult, TextResult, compare, compare_text, evaluate, perplexity
from culnig.files import atomic_path
from culnig.intervention import suppress
from culnig.neurons import GATE, UP, VALUE, Neuron, NeuronSet
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, MeasurementContext, Section
from culnig.studies._cards import base_cards, best_neurons, key_of
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set

if TYPE_CHECKING:
    from culnig.models import LanguageModel
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "neuron_cards"
ROLES = ("culture", "facts", "ability")
UNTOUCHED = -1
"""The number that the untouched model has among the silenced neurons."""
BINS = 30


class NeuronCardsSettings(Settings):
    """Study `neuron_cards`: the culture-general set's best neurons, one by one."""

    top: int = Field(50, ge=1, le=200, description="so many neurons have a card")
    per_country: int = Field(4, ge=1, description="questions of each country that are looked at token by token")
    examples: int = Field(3, ge=1, description="questions shown on a card")
    tokens: int = Field(10, ge=1, description="tokens that the output direction promotes and demotes, each")
    alone: int = Field(0, ge=0, description="so many neurons are also silenced alone; each costs an evaluation")
    alone_items: int = Field(60, ge=2, description="questions of each role, and paragraphs at most, for that")


class NeuronCardsStudy:
    """One forward and backward pass over a sample of `neur` keeps value and contribution of every neuron at every token.

    Questions, coloured tokens and histogram of a card all come from these saved rows.
    """

    settings = NeuronCardsSettings
    section = NAME
    order = 14
    title = "Neuron by neuron"
    tab = "neurons"
    titles: ClassVar = {"neuron-cards-alone": "One neuron silenced alone: change against the untouched model"}

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def measured(self, run: SavedRun) -> bool:
        settings = run.config.section(NeuronCardsSettings)
        names = ("positions", "lens", *(("alone", "alone-text") if settings.alone else ()))
        return all((run.measured_path(NAME) / f"{name}.parquet").is_file() for name in names)

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        settings = run.config.section(NeuronCardsSettings)
        neurons = [neuron for neuron, _ in best_neurons(run, settings.top)]
        tables = {
            "positions": _positions(run, context, neurons),
            "lens": _lens(context.lm, neurons, settings.tokens),
        }
        if settings.alone:
            tables["alone"], tables["alone-text"] = _alone(run, context, neurons[: settings.alone])
        if distributed.is_main():
            for name, table in tables.items():
                with atomic_path(run.measured_path(NAME) / f"{name}.parquet") as temporary:
                    table.to_parquet(temporary, index=False)

    def analyse(self, run: SavedRun) -> Section:
        settings, folder = run.config.section(NeuronCardsSettings), run.measured_path(NAME)
        cards = base_cards(run, settings.top)
        positions, lens = (pd.read_parquet(folder / f"{name}.parquet") for name in ("positions", "lens"))
        add_positions(cards, positions, settings.examples)
        _add_lens(cards, lens)
        section = Section(self.title, titles=self.titles, cards=cards)
        section.tables["neuron-cards"] = _card_table(cards)
        section.tables["neuron-cards-lens"] = lens
        prompts = positions["prompt"].nunique()
        section.numbers = {"neurons": len(cards), "prompts": int(prompts)}
        section.text = [
            f"The {len(cards)} best culture-general neurons were watched at every token of {prompts:,} questions"
            f" ({settings.per_country} of each country at most).",
            "A token's colour is the neuron's contribution there: value times gradient of the right answer's probability."
            " The tokens that a neuron promotes are those whose logits its output direction raises when nothing but the last"
            " norm follows (logit lens). They are demoted where the neuron's product is negative.",
        ]
        if (folder / "alone.parquet").is_file():
            section.tables["neuron-cards-alone"] = _add_alone(run, cards)
            section.text.append(
                "Silencing one neuron alone changes little: read the intervals, and remember that there are many neurons."
            )
        return section


STUDIES.register(NAME)(NeuronCardsStudy())


def _sample(items: list[Item], per_country: int, seed: int) -> list[Item]:
    """Return so many items of each country at most, drawn by the seed, in their order."""
    by_country: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        by_country.setdefault(item.country, []).append(i)
    rng = random.Random(seed)
    chosen = {i for _, each in sorted(by_country.items()) for i in rng.sample(each, min(per_country, len(each)))}
    return [item for i, item in enumerate(items) if i in chosen]


def _positions(run: SavedRun, context: MeasurementContext, neurons: list[Neuron]) -> pd.DataFrame:
    """A row a token of every prompt; `values` and `contributions` are lists over the neurons."""
    from culnig.attribution.method import GradientMethod, parse_method
    from culnig.attribution.per_position import positions_of

    settings = run.config.section(NeuronCardsSettings)
    items = _sample(context.items(run.config.identify.neur), settings.per_country, run.config.seed)
    method = run.scores("neur").method
    parsed = parse_method(method)
    plain = isinstance(parsed, GradientMethod) and parsed.rules == "plain"
    with context.reporter.step(f"watch {len(neurons)} neurons token by token", len(items), "prompts") as progress:
        found = positions_of(
            context.lm,
            items,
            neurons,
            policy=context.scoring_policy,
            method=method if plain else "culnig",
            token_budget=context.token_budget,
            progress=progress,
        )
    rows = []
    for number, each in enumerate(found):
        for t, token in enumerate(each.token_ids):
            rows.append(
                {
                    "prompt": number,
                    "benchmark": each.item.benchmark,
                    "id": each.item.id,
                    "country": each.item.country,
                    "probability": each.probability,
                    "position": t,
                    "in_prompt": t < each.prompt_tokens,
                    "token": context.lm.tokenizer.decode([int(token)]),
                    "values": each.values[t],
                    "contributions": each.contributions[t],
                }
            )
    return pd.DataFrame(rows)


def _lens(lm: LanguageModel, neurons: list[Neuron], count: int) -> pd.DataFrame:
    """A row a token that a neuron's output direction promotes or demotes most; `why` where there is no direction."""
    from culnig.errors import ModelError
    from culnig.models.downstream import logit_lens, output_directions

    rows: list[dict[str, Any]] = []
    for neuron in neurons:
        try:
            if neuron.module not in (GATE, UP, VALUE):
                raise ModelError(f"{neuron.module} steers attention and writes nothing into the residual stream")
            logits = logit_lens(lm, output_directions(lm, neuron.site)[neuron.index][None])[0]
        except ModelError as error:
            rows.append({"key": key_of(neuron), "kind": "none", "why": str(error)})
            continue
        for kind, sign in (("promoted", 1), ("demoted", -1)):
            for rank, token in enumerate((sign * logits).topk(min(count, len(logits))).indices.tolist(), start=1):
                row = {"key": key_of(neuron), "kind": kind, "rank": rank, "token": lm.tokenizer.decode([token])}
                rows.append(row | {"token_id": token, "logit": float(logits[token])})
    columns = ["key", "kind", "rank", "token", "token_id", "logit", "why"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("rank", "token_id"), "Int64"))


def _alone(run: SavedRun, context: MeasurementContext, neurons: list[Neuron]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of questions and of plain text: untouched, and with each neuron alone set to 0; `silenced` is its number."""
    settings = run.config.section(NeuronCardsSettings)
    items = {}
    for role in ROLES:
        if test := run.config.test_of(role):
            whole = context.items(test)
            items[role] = random.Random(run.config.seed).sample(whole, min(settings.alone_items, len(whole)))
    texts = load_texts(run.config.guards.text)[: settings.alone_items] if run.config.guards.text else []
    answers, read = [], []
    with context.reporter.step("silence neurons one by one", len(neurons) + 1, "neurons") as progress:
        for number in range(UNTOUCHED, len(neurons)):
            with suppress(context.lm, NeuronSet(neurons[number : number + 1] if number >= 0 else [])):
                for role, asked in items.items():
                    result = evaluate(context.lm, asked, policy=context.policy, token_budget=context.token_budget)
                    answers.append(result.rows.assign(role=role, silenced=number))
                if texts:
                    text = perplexity(context.lm, texts, bos=context.policy.bos, token_budget=context.token_budget)
                    read.append(text.rows.assign(silenced=number))
            progress(1)
    return pd.concat(answers, ignore_index=True), pd.concat(read, ignore_index=True) if read else pd.DataFrame()


def add_positions(cards: list[dict[str, Any]], positions: pd.DataFrame, examples: int) -> None:
    """Add to each card the questions on which it counts most, with their tokens, and the histogram of its values.

    A question's score is the largest contribution at a token, times the right answer's probability.

    Args:
        cards: the cards, in the order of the neurons in `positions`.
        positions: the saved rows of the study.
        examples: questions a card.
    """
    values, contributions = (np.stack(list(positions[name])) for name in ("values", "contributions"))
    starts = np.flatnonzero(np.r_[True, np.diff(positions["prompt"]) != 0])
    confidence = positions["probability"].to_numpy()[starts, None]
    scores = np.maximum.reduceat(contributions, starts, axis=0) * confidence
    stops = [*starts[1:], len(positions)]
    tokens, inside = positions["token"].tolist(), positions["in_prompt"].tolist()
    for j, card in enumerate(cards):
        shown = []
        for i in np.argsort(-scores[:, j], kind="stable")[:examples]:
            at = range(starts[i], stops[i])
            row = positions.iloc[starts[i]]
            shown.append(
                {
                    "benchmark": row["benchmark"],
                    "id": row["id"],
                    "country": row["country"],
                    "score": float(scores[i, j]),
                    "tokens": [tokens[t] for t in at],
                    "inPrompt": [int(inside[t]) for t in at],
                    "contributions": [float(f"{contributions[t, j]:.3g}") for t in at],
                }
            )
        counts, edges = np.histogram(values[:, j], bins=BINS)
        card["questions"] = shown
        card["histogram"] = {"counts": counts.tolist(), "edges": [float(f"{edge:.4g}") for edge in edges]}
        card["tokensSeen"] = len(values)


def _add_lens(cards: list[dict[str, Any]], lens: pd.DataFrame) -> None:
    by_key = dict(list(lens.groupby("key")))
    for card in cards:
        table = by_key[card["key"]]
        for kind in ("promoted", "demoted"):
            part = table[table["kind"] == kind].sort_values("rank")
            card[kind] = [
                [token, round(float(logit), 3)] for token, logit in zip(part["token"], part["logit"], strict=True)
            ]
        why = table[table["kind"] == "none"]["why"]
        card["direction"] = why.iloc[0] if len(why) else ""


def _card_table(cards: list[dict[str, Any]]) -> pd.DataFrame:
    """The cards as a table, for those who go on with the numbers."""
    rows = []
    for card in cards:
        row = {"rank": card["rank"], "module": card["module"], "layer": card["layer"], "neuron": card["index"]}
        row |= {"score": card["score"], "promoted": " ".join(repr(token) for token, _ in card["promoted"])}
        row["questions"] = ", ".join(each["id"] for each in card["questions"])
        rows.append(row)
    return pd.DataFrame(rows)


def _add_alone(run: SavedRun, cards: list[dict[str, Any]]) -> pd.DataFrame:
    """Add to the cards what silencing the neuron alone changes; return it as a table."""
    folder, rows = run.measured_path(NAME), []
    answers, read = (pd.read_parquet(folder / f"{name}.parquet") for name in ("alone", "alone-text"))
    for number in sorted(set(answers["silenced"]) - {UNTOUCHED}):
        card = cards[number]
        card["alone"] = []
        for role in ROLES:
            pair = [_result(answers, role, which) for which in (number, UNTOUCHED)]
            if not len(pair[0]):
                continue
            for metric in ("correct", "log_odds"):
                found = compare(pair[0], pair[1], metric)
                card["alone"].append({"what": role, "metric": metric, "questions": found.questions} | _change(found))
        if len(read):
            texts = [
                TextResult(read[read["silenced"] == which].reset_index(drop=True)) for which in (number, UNTOUCHED)
            ]
            text = compare_text(texts[0], texts[1])
            change = {"change": text.ratio - 1, "low": text.low - 1, "high": text.high - 1}
            card["alone"].append({"what": "plain text", "metric": "perplexity", "questions": text.paragraphs} | change)
        place = {"module": card["module"], "layer": card["layer"], "neuron": card["index"]}
        rows += [place | row for row in card["alone"]]
    return pd.DataFrame(rows)


def _result(answers: pd.DataFrame, role: str, number: int) -> EvalResult:
    return EvalResult(answers[(answers["role"] == role) & (answers["silenced"] == number)].reset_index(drop=True))


def _change(found: Any) -> dict[str, float]:
    return {"change": found.difference, "low": found.low, "high": found.high}
