"""Deviations from the published protocol: none is hidden, and the presets have none that could be removed."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.studies.protocol import TESTED, deviations
from tests.helpers.cli import invoke
from tests.helpers.configs import write_config
from tests.helpers.published import imported, known_as_published

PRESETS = [
    f"paper-{name}" for name in ("gemma-3-12b", "gemma-3-27b", "qwen3-14b", "llama-3.1-8b", "phi-4", "falcon3-10b")
]
LEMMAS = "short answers: words and lemmas"


def settings_of(name, *overrides, about="protocol"):
    return {one.setting: one for one in deviations(load_config(name, overrides)) if one.about == about}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_follows_the_protocol(name):
    assert list(settings_of(name)) == []
    assert list(settings_of(name, about="texts")) == [
        "prompts: wordings",
        "prompts: beginning of the answer",
        "prompts: order of options",
        "country_rc: passages",
        LEMMAS,
    ]


@pytest.mark.parametrize(
    ("override", "setting"),
    [
        ("model.name=smollm2-135m", "model.name"),
        ("model.dtype=float32", "model.dtype"),
        ("prompts.wordings=2", "prompts.wordings"),
        ("prompts.chat_template='off'", "prompts.chat_template"),
        ("prompts.calibration=pmi", "prompts.calibration"),
        ("prompts.orders=cyclic", "prompts.orders"),
        ("identify.neur.draws=1", "identify.neur"),
        ("identify.crc.items=country_rc:neur", "identify.crc"),
        ("identify.ability.items=ability:dev", "identify.ability"),
        ("scoring='culnig:sum,culnig'", "scoring"),
        ("padded_zeros=null", "padded_zeros"),
        ("culture_general.preset=corrected", "culture_general.preset"),
        ("culture_general.t_attn=0.01", "culture_general.t_attn"),
        ("culture_specific.z=1", "culture_specific.z"),
        ("operation=enhance", "operation"),
        ("random_kind=pool", "random_kind"),
        ("random_controls=9", "random_controls"),
        ("test.2.limit_per_country=5", "test: NormAd"),
        ("test.3.items=world_values", "test: WorldValuesBench"),
        ("test.3.countries=all", "test: WorldValuesBench"),
        ("test.4.items=country_rc:test", "test: CountryRC"),
        ("test.8.items=blend_short:test", "test: BLEnD short answers"),
        ("test.8.draws=1", "test: BLEnD short answers"),
        ("short_answers.max_new_tokens=32", "short_answers.max_new_tokens"),
        ("short_answers.read=line", "short_answers.read"),
        ("short_answers.decoding=greedy", "short_answers.decoding"),
        ("studies=[culture_general]", "short_answers"),
    ],
)
def test_a_changed_setting_is_a_row(override, setting):
    found = settings_of("paper-qwen3-14b", override)
    assert setting in found and found[setting].published != found[setting].here and found[setting].why


def test_additions_are_no_deviation():
    more = [
        "matched_controls=3",
        "studies=[culture_general, dose, short_answers]",
        "specific_controls=4",
        "block_groups=false",
    ]
    assert list(settings_of("paper-phi-4", *more)) == []
    place = ["test.0.items=blend:test@/data/blend"]
    assert list(settings_of("paper-phi-4", *place)) == []


@pytest.mark.parametrize("title", [title for title, tested in TESTED.items() if tested.template])
def test_a_template_that_drifts_is_a_row(title, monkeypatch):
    from culnig.studies import protocol

    def fewer(name):
        template = load(name)
        kept = template.mcf.model_copy(update={"wordings": template.mcf.wordings[:-1]})
        return template.model_copy(update={"mcf": kept}) if name == TESTED[title].template else template

    load = protocol.load_template
    monkeypatch.setattr(protocol, "load_template", fewer)
    assert list(settings_of("paper-phi-4")) == [f"test: {title}, labels"]


def test_imported_texts_are_no_deviation(tmp_path, monkeypatch):
    known_as_published(monkeypatch, made := imported(tmp_path))
    use = [f"prompts.template={made}"]
    assert list(settings_of("paper-phi-4", *use)) == []
    assert list(settings_of("paper-phi-4", *use, about="texts")) == ["country_rc: passages", LEMMAS]
    (made / "normad.yaml").unlink()
    left = settings_of("paper-phi-4", *use, about="texts")
    assert left["prompts: wordings"].here == "texts of this project in NormAd" and len(left) == 5
    crc = [f"identify.crc.items={made}/country_rc-neur.jsonl", f"test.4.items={made}/country_rc-test.jsonl"]
    assert list(settings_of("paper-phi-4", *crc)) == []
    assert "country_rc: passages" not in settings_of("paper-phi-4", *crc, about="texts")
    assert "country_rc: passages" in settings_of("paper-phi-4", crc[0], about="texts")


def test_an_edited_import_is_a_deviation(tmp_path, monkeypatch):
    known_as_published(monkeypatch, made := imported(tmp_path))
    (made / "qnli.yaml").write_text((made / "qnli.yaml").read_text().replace("Reply 0 or 1.", "Reply."))
    left = settings_of("paper-phi-4", f"prompts.template={made}", about="texts")
    assert left["prompts: wordings"].here == "texts of this project in QNLI" and "prompts: order of options" not in left


def test_the_fine_tuning_is_checked_too():
    found = settings_of("paper-finetune")
    assert {"finetune.task", "finetune.training.batch", "finetune: weights that train"} <= set(found)
    assert not {"finetune.rank_by", "finetune.learning_rate", "finetune.share"} & set(found)
    published = [
        "finetune.task={items: qnli_train, limit_per_country: 10000}",
        "test.0.items=qnli",
        "finetune.training={}",
        "finetune.learning_rates=[]",
    ]
    left = settings_of("paper-finetune", *published)
    assert [setting for setting in left if setting.startswith("finetune")] == ["finetune: weights that train"]
    assert "finetune.task, tested on" in settings_of("paper-finetune", published[0])
    assert "finetune: wordings" in settings_of("paper-finetune-qnli", "finetune.wordings=null")
    assert "finetune.rank_by" in settings_of("finetune") and "finetune.arms: top" in settings_of(
        "finetune", "finetune.arms=[all]"
    )


@pytest.mark.parametrize("task", ["qnli", "mrpc", "blend"])
def test_the_published_fine_tunings_are_configs(task):
    left = settings_of(f"paper-finetune-{task}")
    elsewhere = ["test: BLEnD short answers", "short_answers"]  # an experiment of the six presets
    assert list(left) == [*elsewhere, "finetune: weights that train"]
    other = settings_of("paper-finetune-commonsenseqa")
    assert list(other) == [*elsewhere, "finetune.task", "finetune: weights that train"]


def test_command():
    facts = json.loads(invoke("paper-check", "paper-gemma-3-12b", "--json").stdout)
    assert facts["config"] == "paper-gemma-3-12b" and facts["protocol"] == 0 and facts["texts"] == 5
    assert {"setting", "published", "here", "why", "about"} == set(facts["deviations"][0])
    done = invoke("paper-check", "quickstart")
    assert done.exit_code == 0 and "identify.neur" in done.output and "from the published protocol" in done.output


def test_the_alignment_score_is_tested_where_there_is_one(tiny, word_items):
    from culnig.evaluation import EvalResult, compare, evaluate
    from culnig.studies.culture_general import METRICS, _metrics

    result = evaluate(tiny, word_items[:8], formulation="cf")
    assert _metrics(result) == METRICS
    on_scale = EvalResult(result.rows.assign(alignment=[100.0, 50.0] * 4), result.meta)
    assert _metrics(on_scale) == (*METRICS, "alignment")
    none = EvalResult(result.rows.assign(alignment=100.0), result.meta)
    assert compare(on_scale, none, "alignment").difference == pytest.approx(-25)


@pytest.mark.slow
def test_the_report_carries_the_table(tmp_path, reference_dir):
    path = write_config(tmp_path, reference_dir)
    settings = ["studies=[culture_general, protocol]", "guards.text=null", "random_kind=whole", "matched_controls=2"]
    done = run(load_config(path, [*settings, "padded_zeros=16", "random_controls=2"]), tmp_path / "run")
    table = pd.read_parquet(done.path / "tables" / "protocol.parquet")
    assert "identify.neur" in set(table["setting"]) and "random_kind" not in set(table["setting"])
    page = (done.path / "report.html").read_text()
    assert "Deviations from the published protocol" in page and "neurons are found on other items" in page
    assert done.scores("neur").meta["padded_zeros"] == 16
    accuracy = pd.read_parquet(done.path / "tables" / "accuracy.parquet")
    matched = accuracy[accuracy["condition"].str.startswith("matched")]
    assert set(matched["role"]) >= {"culture", "ability"} and set(matched["condition"]) == {"matched-0", "matched-1"}
    chosen = done.neurons("culture-general")
    assert done.neurons("matched-0").counts() == chosen.counts()
    assert len(done.neurons("random-0")) == len(chosen)
    pairs = set(pd.read_parquet(done.path / "tables" / "differences.parquet")["pair"])
    assert {"culture-general - random", "culture-general - matched"} <= pairs
