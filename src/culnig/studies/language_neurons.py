"""Language neurons as a baseline: are the neurons of culture those that tell languages apart (LAPE, arXiv 2402.16438)?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from culnig import distributed
from culnig.attribution import Scores
from culnig.attribution.batch import Prompts
from culnig.attribution.method import parse_method
from culnig.attribution.scoring import score_prompts
from culnig.data import Item, load_languages
from culnig.neurons import GATE, NeuronSet, number_of_neurons
from culnig.passes.plain_text import pieces
from culnig.prompts import Encoded, PromptPolicy
from culnig.selection import select_general
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._found_on import pooled_chance
from culnig.studies._metric_table import changes, metric_table
from culnig.studies.culture_specific import set_names
from culnig.studies.modules import changes_by_part

if TYPE_CHECKING:
    from pathlib import Path

    from culnig.models import LanguageModel
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "language_neurons"
LANGUAGE = "language-neurons"
"""Name of the set, and of the condition in which it is suppressed."""
ROLES = ("culture", "ability", "facts")


class LanguageNeuronsSettings(Settings):
    """Study `language_neurons`: where the texts come from, and which neurons are active enough to be looked at."""

    texts: str = Field(
        "sentences", description="sentences: eight embedded ones in six languages; or a folder of <language>.txt"
    )
    percentile: float = Field(
        95.0,
        ge=0,
        lt=100,
        description="a neuron is looked at if it is active in some language more often than so many % are",
    )


class LanguageNeuronsStudy:
    """Neurons whose activity tells languages apart: as many as the culture-general set holds, of the gate alone."""

    settings = LanguageNeuronsSettings
    section = "language_neurons"
    order = 55
    needs = ("culture",)
    measures_first = True
    title = "Language neurons"
    tab = "neurons"
    titles: ClassVar = {
        "language-neurons": "Language neurons by language",
        "language-neurons-overlap": "Overlap of the culture sets with the language neurons",
        "language-neurons-changes": "Changes under both sets",
    }

    def check(self, config: RunSettings) -> None:
        """Check the texts before a model is loaded."""
        load_languages(config.section(LanguageNeuronsSettings).texts)

    def measured(self, run: SavedRun) -> bool:
        return _path(run).is_file()

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        """Count on which tokens of each language every gate neuron is active."""
        policy = PromptPolicy(formulation="cf", chat_template="off", bos=context.policy.bos)
        prompts = as_prompts(context.lm, load_languages(run.config.section(LanguageNeuronsSettings).texts), policy.bos)
        with context.reporter.step("read texts in several languages", len(prompts.encoded), "texts") as progress:
            budget, method = context.token_budget, _method(run.config)
            scores = score_prompts(context.lm, prompts, policy, method, token_budget=budget, progress=progress)
        if distributed.is_main():
            scores.save(_path(run))

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        whole, scores = culture_general_set(run), Scores.load(_path(run))
        size = number_of_neurons({GATE: scores.shapes()[GATE]})
        chosen = select_general(scores, None, None, t_mlp=min(1.0, len(whole) / size), t_attn=0.0)
        return {CULTURE_GENERAL: whole, LANGUAGE: chosen}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, []) if len(run.neurons(LANGUAGE)) else []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        names = (CULTURE_GENERAL, LANGUAGE)
        return [UNTOUCHED, *(Condition(name, name, config.operation, ROLES) for name in names)]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        chosen, scores = run.neurons(LANGUAGE), Scores.load(_path(run))
        languages, overlap = _by_language(scores, chosen, run.config), _overlap(run, chosen)
        section.tables = {"language-neurons": languages, "language-neurons-overlap": overlap}
        section.numbers = {"neurons": len(chosen), "overlap": overlap.to_dict("records")}
        first = overlap.iloc[0]
        section.text = [
            f"LAPE over {len(scores.groups)} languages ({int(scores.count.sum())} texts,"
            f" {int(languages['tokens'].sum()):,} tokens) chooses {len(chosen):,} gate neurons, those whose activity differs"
            f" most between languages. The culture-general set shares {first['shared']} of its {first['neurons']:,} neurons"
            f" with them: Jaccard {first['jaccard']:.3f}, {first['jaccard by chance']:.3f} by chance.",
            "A rate of activity over few tokens is coarse. For a firm answer give longer texts (`language_neurons.texts`).",
        ]
        if not len(chosen):
            return section
        rows = metric_table(run, CULTURE_GENERAL, where={"set": CULTURE_GENERAL}, roles=ROLES)
        rows += metric_table(run, LANGUAGE, [CULTURE_GENERAL], {"set": LANGUAGE}, label=CULTURE_GENERAL, roles=ROLES)
        table = pd.DataFrame(rows)
        section.tables["language-neurons-changes"] = table
        section.numbers["changes"] = changes(table, "set")
        caption = (
            f"Change of accuracy under {run.config.done.noun} of the language neurons and of the culture-general set, against"
            " the untouched model; and of the first against the second. 95 % intervals."
        )
        section.figures = [(caption, changes_by_part(table, "set"))]
        return section


STUDIES.register(NAME)(LanguageNeuronsStudy())


def as_prompts(lm: LanguageModel, texts: dict[str, list[str]], bos: str) -> Prompts:
    """Texts as prompts that nothing is asked about; longer ones than the model's window are cut."""
    items, encoded = [], []
    for language, paragraphs in texts.items():
        for number, piece, ids in pieces(lm, paragraphs, bos):
            item = Item(f"{language}/{number + 1}/{piece + 1}", "languages", language, prompt=paragraphs[number])
            items.append(item)
            encoded.append(
                Encoded(item, "", ids, ((ids[-1],),), 0, False)
            )  # a row needs an answer; nothing looks at it
    return Prompts(items, encoded, True, np.zeros(len(items), dtype=bool))


def _path(run: SavedRun) -> Path:
    return run.measured_path(NAME) / "texts.safetensors"


def _method(config: RunSettings) -> str:
    """LAPE by the name that its option gives it."""
    return parse_method(f"lape:percentile={config.section(LanguageNeuronsSettings).percentile:g}").name


def _by_language(scores: Scores, chosen: NeuronSet, config: RunSettings) -> pd.DataFrame:
    """A row a language: its texts and tokens, and the chosen neurons that are often active in it; one may be in several."""
    assert scores.tokens is not None
    rank = parse_method(scores.method).culture_specific_rank(scores, None, lambda each: each.count)(GATE)
    places = [(neuron.layer, neuron.index) for neuron in chosen]
    rows = []
    for number, language in enumerate(scores.groups):
        own = sum(bool(np.isfinite(rank[number, layer, index])) for layer, index in places)
        row = {"language": language, "texts": int(scores.count[number]), "tokens": int(scores.tokens[number])}
        rows.append(row | {"neurons": own})
    return pd.DataFrame(rows)


def _overlap(run: SavedRun, chosen: NeuronSet) -> pd.DataFrame:
    """A row a culture set: what it shares with the language neurons, and what random sets would share."""
    shapes, rows = run.scores("neur").shapes(), []
    for name in (CULTURE_GENERAL, *set_names(run)):
        own = run.neurons(name)
        chance, jaccard = pooled_chance(own, chosen, shapes), own.jaccard(chosen)
        row: dict[str, Any] = {"set": name, "neurons": len(own), "shared": len(own & chosen), "jaccard": jaccard}
        row |= {"jaccard by chance": chance, "times chance": jaccard / chance if chance else float("nan")}
        rows.append(row)
    return pd.DataFrame(rows)
