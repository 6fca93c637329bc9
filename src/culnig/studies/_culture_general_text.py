"""What the section on culture-general neurons says of its own making: selection, operation, ruler, correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.statistics.bootstrap import EXACT
from culnig.studies._culture_general_set import CULTURE_GENERAL

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun


def told(run: SavedRun) -> list[str]:
    """Return the paragraphs."""
    return [_selection_text(run), *_operation_text(run), _ruler_text(run), _correction_text(run)]


def _operation_text(run: SavedRun) -> list[str]:
    """What was done to the neurons, where they were not suppressed."""
    if run.config.operation == "suppress":
        return []
    return [
        f"The operation of this run is {run.config.done.noun}. Where a text says suppressed, it means this operation."
    ]


def _correction_text(run: SavedRun) -> str:
    name = {"holm": "Holm's method", "bh": "the method of Benjamini and Hochberg"}[run.config.correction]
    return (
        f"p-values come from the paired bootstrap, up to {EXACT} questions from the exact sign-flip test, and p mcnemar from the"
        " exact McNemar test. Against random sets, questions and draws are both samples. \u2264 marks the least p that resampling can"
        " give, and an empty cell a test that is not possible. The adjusted ones are corrected by"
        f" {name}: over the test sets within each comparison and metric, and over the countries (topics) of a table."
        " Where few answers change, as within a country, the exact test is cautious, and the bootstrap rejects too readily far below"
        " level 0.05 (docs/method.md)."
    )


RULERS = {
    "none": "by their summed log-probability, as it is",
    "length": "by their log-probability for their length",
    "pmi": "by their log-probability minus that without the question",
    "contrast": "by their log-probability minus that when other countries are asked about",
}


def _ruler_text(run: SavedRun) -> str:
    """How an answer is judged."""
    result = run.result("culture", "none")
    assert result is not None
    if result.meta.get("formulation") == "mcf" and result.calibration == "none":
        return "An answer is right if the greedy next token is the label of the right option (mcf)."
    return (
        f"Options are compared {RULERS[result.calibration]} (calibration {result.calibration}; docs/method.md)."
        " Items that it does not apply to are marked in the results' column `calibration`."
    )


def _selection_text(run: SavedRun) -> str:
    rule = run.config.culture_general
    sites = run.neurons(CULTURE_GENERAL).counts()
    plain = (
        f", and so are those in the top {rule.r_ability:.2%} on ability items" if run.config.identify.ability else ""
    )
    mlp = sum(count for site, count in sites.items() if site.module.startswith("mlp"))
    return (
        f"Neurons are ranked by S(neur) - S(ctrl): the top {rule.t_mlp:.2%} of the gate neurons and the top"
        f" {rule.t_attn:.2%} of the query, key and value neurons are taken, and those in the top {rule.r:.2%} of their pool"
        f" on country reading comprehension are removed{plain}. {mlp} of the {sum(sites.values())} that remain are in MLP modules."
    )
