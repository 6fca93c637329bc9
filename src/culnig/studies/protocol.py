"""Deviations of a config from the published protocol: what a reader of the paper should know before comparing figures.

The protocol is that of the paper and of the code that was published with it (arXiv 2510.08284, ynklab/CULNIG).  Whatever
only adds to it, such as further test sets, controls or studies, is no deviation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd

from culnig.data import DataConfig, parse_name
from culnig.models.places import recommended
from culnig.neurons import NeuronSet
from culnig.prompts import PromptPolicy, load_template
from culnig.prompts.published import is_published, known_items
from culnig.studies._base import STUDIES, Condition, Section
from culnig.studies._protocol_finetune import finetune_rows
from culnig.studies.short_answers import ShortAnswersSettings

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

MODELS = (
    "google/gemma-3-12b-it",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3-14B",
    "meta-llama/Llama-3.1-8B-Instruct",
    "microsoft/phi-4",
    "tiiuae/Falcon3-10B-Instruct",
)
SETS = {"neur": "blend:neur", "ctrl": "blend:ctrl", "crc": "country_rc:fifty-neur"}
SHORT = "blend_short:published"
SEVEN = ["China", "Indonesia", "Iran", "Mexico", "South Korea", "UK", "USA"]
"""Countries of WorldValuesBench: the eight targets without Spain, which the survey lacks."""


@dataclass(frozen=True)
class Tested:
    """A benchmark as it is evaluated in the paper.

    Attributes:
        items: its name and split here.
        template: its prompt template here; None where each row has a prompt of its own.
        labels: kind of labels of each wording.
        countries: the countries evaluated; None is all.
    """

    items: str
    template: str | None
    labels: tuple[str, ...] = ()
    countries: tuple[str, ...] | None = None


TESTED = {
    "BLEnD": Tested("blend:test", None),
    "CulturalBench": Tested("culturalbench", "culturalbench", ("letters",) * 4),
    "NormAd": Tested("normad", "normad", ("digits",) * 4),
    "WorldValuesBench": Tested("world_values:numbers-all", "world_values_numbers", ("options",) * 4, tuple(SEVEN)),
    "CountryRC": Tested("country_rc:fifty-test", "passage", ("letters", "letters", "digits", "digits")),
    "CommonsenseQA": Tested("commonsenseqa", "commonsenseqa", ("letters",) * 4),
    "QNLI": Tested("qnli", "qnli", ("digits-from-0",) * 4),
    "MRPC": Tested("mrpc", "mrpc", ("digits-from-0",) * 4),
}


@dataclass(frozen=True)
class Deviation:
    """One setting that is not as published.

    Attributes:
        setting: name of the setting, or of what it stands for.
        published: its value in the paper or its code.
        here: its value in the config.
        why: why it differs, or what follows from it.
        about: "texts" where only texts differ that are not shipped, of prompts or lists of words; else "protocol".
    """

    setting: str
    published: str
    here: str
    why: str
    about: Literal["protocol", "texts"] = "protocol"


class ProtocolStudy:
    """The table of `culnig paper-check`, in the report."""

    order = 13
    title = "Deviations from the published protocol"
    tab = "run"
    titles: ClassVar = {"protocol": "Setting by setting"}

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def analyse(self, run: SavedRun) -> Section:
        found = deviations(run.config)
        section = Section(self.title, titles=self.titles)
        section.tables["protocol"] = table_of(found)
        texts = sum(one.about == "texts" for one in found)
        section.text = [
            f"This run leaves the published protocol in {len(found) - texts} settings, and in {texts} that concern texts"
            " of prompts and lists of words alone. `culnig paper-check config.yaml` prints the same table."
        ]
        section.numbers = {"deviations": [asdict(one) for one in found]}
        return section


STUDIES.register("protocol")(ProtocolStudy())


def table_of(found: list[Deviation]) -> pd.DataFrame:
    """Return deviations as a table: setting, published, here, why, about."""
    return pd.DataFrame([asdict(one) for one in found], columns=list(Deviation.__dataclass_fields__))


def deviations(config: RunSettings) -> list[Deviation]:
    """Return every deviation of a config from the published protocol; those of prompts' texts come last.

    Raises:
        UsageError: two settings of the prompts exclude each other.
    """
    rows = [*_model(config), *_prompts(config), *_identification(config), *_selection(config), *_tests(config)]
    rows += _short_answers(config)
    if "finetune" in config.studies:
        rows += finetune_rows(config)
    found = [
        Deviation(setting, str(published), str(here), why)
        for setting, published, here, why in rows
        if published != here
    ]
    return [*found, *_texts(config)]


Row = tuple[str, Any, Any, str]
"""Setting, published value, value here, reason; a deviation where the two values differ."""


def _model(config: RunSettings) -> Iterator[Row]:
    m = config.model
    known = {name.casefold() for name in MODELS} | {name.partition("/")[2].casefold() for name in MODELS}
    own = m.name.rstrip("/").casefold()
    named = own in known or own.rpartition("/")[2] in known
    six = "one of six models"
    yield "model.name", six, six if named else m.name, "the paper has no figures of this model"
    yield "model.dtype", "bfloat16", m.dtype, "values and gradients round differently in another type"
    yield "model.quantize", None, m.quantize, "quantised weights are another model"


def _prompts(config: RunSettings) -> Iterator[Row]:
    policy = config.prompts.policy(recommended(config.model.name))
    scoring = config.prompts.scoring_policy(recommended(config.model.name))
    cf = "small models cannot answer with a letter; P is then over the options alone"
    yield "prompts.formulation", "mcf", policy.formulation, cf
    on = "on" if policy.chat_template == "auto" and policy.formulation == "mcf" else policy.chat_template
    yield "prompts.chat_template", "on", on, "the published code puts every prompt into the model's chat template"
    yield "prompts.bos", "auto", policy.bos, "the tokenizer or its chat template decides in the published code"
    yield "prompts.wordings", "all", policy.wordings, "figures are means over all wordings of a benchmark"
    yield "prompts.system", None, policy.system, "only WorldValuesBench has a system message"
    single = policy.template if policy.template_of("") == policy.template else None  # a folder holds one for each
    yield "prompts.template", None, single, "one template stands in the place of each benchmark's own"
    yield "prompts.calibration", "none", policy.calibration, "the published prediction is the greedy next token"
    yield "prompts.score_calibration", "none", scoring.calibration, "P in scores is the plain probability"
    yield "prompts.orders", "given", policy.orders, "options are put once, in a drawn order"


def _identification(config: RunSettings) -> Iterator[Row]:
    for part, published in SETS.items():
        data: DataConfig = getattr(config.identify, part)
        yield f"identify.{part}", published, _said(data, None), "neurons are found on other items"
    ability = config.identify.ability and config.identify.ability.items
    yield "identify.ability", None, ability, "a further filter removes neurons that score high on ability items"
    yield "scoring", "culnig", config.scoring.partition(",")[0], "studies select by another score"
    padding = "the equation leaves padding out; the code lets padded positions enter the maximum as 0, in batches of 16"
    yield "padded_zeros", 16, config.padded_zeros, padding


def _selection(config: RunSettings) -> Iterator[Row]:
    divisors = "corrected means divide by what was summed; the published code divides by all items and unique ids"
    shares = "another number of neurons is selected"
    general, specific = config.culture_general, config.culture_specific
    yield "culture_general.preset", "paper", general.preset, divisors
    yield "culture_specific.preset", "paper", specific.preset, divisors
    for name, share in (("t_mlp", 0.01), ("t_attn", 0.002), ("r", 0.01)):
        yield f"culture_general.{name}", share, getattr(general, name), shares
    for name, share in (("t", 0.003), ("r", 0.01), ("z", 0.5)):
        yield f"culture_specific.{name}", share, getattr(specific, name), shares
    yield "operation", "suppress", config.operation, "the published figures are of suppression"
    kinds = "the published code draws from gates, queries, keys and values as one pool, the set's own included"
    yield "random_kind", "whole", config.random_kind, kinds
    yield "random_controls", 10, config.random_controls, "the random baseline is a mean over ten seeds"


def _tests(config: RunSettings) -> Iterator[Row]:
    present = {known_items(test.items) or test.label: test for test in config.test}
    policy = config.prompts.policy(recommended(config.model.name))
    for title, tested in TESTED.items():
        where = f"test: {title}"
        whole = _said(None, tested)
        if tested.items not in present:
            yield where, whole, "left out", "the paper's table has this benchmark"
            continue
        yield where, whole, _said(present[tested.items], None), "a part of the items, or other countries"
        if tested.template is not None:
            yield f"{where}, labels", list(tested.labels), _labels(tested.template, policy), "answers look different"


def _short_answers(config: RunSettings) -> Iterator[Row]:
    """The experiment with written answers, in BLEnD's 13 languages."""
    test = config.test_of("short")
    asked = "questions that nobody answered are left out, one drawn wording each, no English spellings"
    yield "test: BLEnD short answers", SHORT, _said(test, None) if test else "left out", asked
    study = "in the studies" if "short_answers" in config.studies else "left out"
    yield "short_answers", "in the studies", study, "written answers are analysed by this study"
    s = config.section(ShortAnswersSettings)
    yield "short_answers.max_new_tokens", 512, s.max_new_tokens, "shorter answers may stop before the right word"
    yield "short_answers.read", "all", s.read, "the published code looks through all that is written"
    yield "short_answers.decoding", "model", s.decoding, "the published code generates as the model's config says"


def _said(data: DataConfig | None, tested: Tested | None) -> str:
    """Return a set of items in words: its name, and what limits it."""
    if data is None:
        assert tested is not None
        return f"{tested.items}, {', '.join(tested.countries)}" if tested.countries else tested.items
    name, split, _ = parse_name(known_items(data.items) or data.items)
    said = f"{name}:{split}" if split else name
    if data.countries not in ("all", "blend"):
        said += f", {', '.join(data.countries) if isinstance(data.countries, list) else data.countries}"
    for what in ("limit_per_country", "draws", "topics"):
        if (value := getattr(data, what)) is not None:
            said += f", {what} {value}"
    return said


def _labels(template: str, policy: PromptPolicy) -> Any:
    """Return the kinds of labels of the wordings that a policy asks for."""
    listed = load_template(policy.template_of(template)).mcf
    kinds = [wording.labels for wording in listed.wordings] if listed else []
    return kinds if policy.wordings == "all" else kinds[: policy.wordings]


def _texts(config: RunSettings) -> Iterator[Deviation]:
    """What concerns texts that are not shipped: published prompts, which can be imported, and dictionaries of words."""
    policy = config.prompts.policy(recommended(config.model.name))
    templates = {title: tested.template for title, tested in TESTED.items() if tested.template}
    ours = [title for title, name in templates.items() if not is_published(policy.template_of(name))]
    among = "" if len(ours) == len(templates) else f" in {', '.join(ours)}"
    if ours:
        shipped = (
            "texts are not copied, and number, labels and order are the same; `culnig data import-published` has them"
        )
        yield Deviation("prompts: wordings", "the authors' texts", f"texts of this project{among}", shipped, "texts")
        begun = "a label directly behind a chat template is less often the greedy token of small models"
        begins = f"given, such as 'Answer:'{among and ','}{among}"
        yield Deviation("prompts: beginning of the answer", "given in BLEnD alone", begins, begun, "texts")
    if drawn := [title for title in ("CulturalBench", "NormAd") if title in ours]:
        hashes = "the published draw is a hash of the published text, so the same draw needs the same text"
        here = "drawn by item and wording" + (f" in {drawn[0]}" if len(drawn) == 1 else "")
        yield Deviation("prompts: order of options", "drawn by text", here, hashes, "texts")
    items = {known_items(config.identify.crc.items), *(known_items(test.items) for test in config.test)}
    if not items.issuperset((SETS["crc"], TESTED["CountryRC"].items)):
        passages = (
            "passages are written anew: 25 and 25, ten of each with a dummy country, wrong options from 15 countries"
        )
        yield Deviation("country_rc: passages", "the authors' 50", "this project's 50", passages, "texts")
    if config.test_of("short"):
        yield Deviation(
            "short answers: words and lemmas",
            "a library or list of words for each language",
            "others for some, and words as written in az, am, as and su",
            "these are no packages, or not kept up; docs/benchmarks.md has the table, and an answer is found as whole words too",
            "texts",
        )
