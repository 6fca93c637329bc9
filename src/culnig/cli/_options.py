"""Options that several verbs share, and the objects they become.

A group of options is a dataclass; a verb takes it as one parameter, and `grouped` turns its fields into options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from culnig.errors import UsageError

if TYPE_CHECKING:
    from culnig.data import Item
    from culnig.models import LanguageModel
    from culnig.neurons import NeuronSet
    from culnig.progress import Reporter
    from culnig.prompts import PromptPolicy

ITEMS, PROMPTS, MODEL, INTERVENTION = "Items", "Prompts", "Model", "Intervention"
"""Panels of `--help`."""

Model = Annotated[str, typer.Option("--model", "-m", help="Alias (smollm2-135m), GGUF file, folder, or hub id.")]
Items = Annotated[str, typer.Option("--items", "-i", help="benchmark:split[@place], own.yaml:split, or item file.")]
Revision = Annotated[str | None, typer.Option(help="Commit or branch of a hub id.", rich_help_panel=MODEL)]
MergeAdapter = Annotated[
    bool, typer.Option("--merge-adapter", help="Add a PEFT adapter to the weights.", rich_help_panel=MODEL)
]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.", rich_help_panel=MODEL)
]
Dtype = Annotated[
    str,
    typer.Option(
        help="float32, bfloat16, float16; auto: float32 on a CPU, else the checkpoint's.", rich_help_panel=MODEL
    ),
]
Bos = Annotated[str, typer.Option(help="auto (what the tokenizer does), on, off.", rich_help_panel=PROMPTS)]
Wordings = Annotated[str, typer.Option(help="Prompt wordings of each item: a number, or all.", rich_help_panel=PROMPTS)]
TemplateFile = Annotated[
    str | None,
    typer.Option(
        "--template", help="Prompt template: a name, your YAML file, or a folder of them.", rich_help_panel=PROMPTS
    ),
]
Calibrated = Annotated[
    str,
    typer.Option(
        help="Taken off an option's log-probability: none, length, pmi (its log-probability without the question), contrast"
        " (asked of other countries); auto: pmi for cf, none for mcf and for scores.",
        rich_help_panel=PROMPTS,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of option draws and samples.")]
Budget = Annotated[
    int | None, typer.Option("--token-budget", help="Padded tokens a batch; results do not depend on it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and no progress.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]


@dataclass(frozen=True)
class Choosing:
    """The choice among the named items."""

    countries: Annotated[
        str | None,
        typer.Option(
            help="Only these, separated by commas; blend: BLEnD's sixteen; targets: the paper's eight.",
            rich_help_panel=ITEMS,
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit-per-country", help="A seeded sample of so many items a country.", rich_help_panel=ITEMS),
    ] = None
    draws: Annotated[
        int | None,
        typer.Option(
            help="Option draws of each question (everyday has 3); for benchmarks that bring prompts, so many of them.",
            rich_help_panel=ITEMS,
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of option draws and samples.", rich_help_panel=ITEMS)] = 0

    def load(self, source: str) -> list[Item]:
        """Return the items; report on stderr the rows that gave none."""
        found = self.stream(source)
        return found if isinstance(found, list) else list(found)

    def stream(self, source: str) -> Sequence[Item]:
        """Do the same, but leave the items of a large file there (`data.stream_items`)."""
        from culnig.data import ItemList, stream_items

        found = stream_items(
            source,
            countries=split_list(self.countries),
            limit_per_country=self.limit,
            draws=self.draws,
            seed=self.seed,
        )
        if isinstance(found, ItemList):
            typer.secho(f"  {source}: {len(found):,} items of {found.account}", fg="bright_black", err=True)
        return found


@dataclass(frozen=True)
class Prompting:
    """How items are presented to the model."""

    formulation: Annotated[
        str,
        typer.Option(
            help="mcf: answer with a label; cf: score each option's text; auto: what suits the model.",
            rich_help_panel=PROMPTS,
        ),
    ] = "auto"
    chat_template: Annotated[
        str, typer.Option(help="auto (on if there is one, but not for cf), on, off.", rich_help_panel=PROMPTS)
    ] = "auto"
    bos: Bos = "auto"
    wordings: Wordings = "1"
    system: Annotated[
        str | None, typer.Option(help="System prompt (with a chat template).", rich_help_panel=PROMPTS)
    ] = None
    template: TemplateFile = None
    calibration: Calibrated = "auto"
    orders: Annotated[
        str, typer.Option(help="given; cyclic: every cyclic order of the options (mcf).", rich_help_panel=PROMPTS)
    ] = "given"
    offsets_from: Annotated[
        str,
        typer.Option(help="untouched; current: measure offsets on the model as it is.", rich_help_panel=PROMPTS),
    ] = "untouched"

    def __post_init__(self) -> None:
        """Check the options before a model is loaded; if the formulation is open, one of them must accept the options."""
        left_open = "cf" if self.calibration == "length" else "mcf"
        self._policy(left_open if self.formulation == "auto" else self.formulation)

    def policy(self, lm: LanguageModel) -> PromptPolicy:
        """Return the prompt policy; if the formulation is open, take the one that suits the model.

        Raises:
            UsageError: a value is not allowed for its option, or two values exclude each other.
        """
        return self._policy(lm.formulation if self.formulation == "auto" else self.formulation)

    def fixed_policy(self) -> PromptPolicy:
        """Return the prompt policy where the formulation is named, and no model decides."""
        return self._policy(self.formulation)

    def scoring_policy(self, lm: LanguageModel) -> PromptPolicy:
        """The same for scores, which are not calibrated where it is left to them."""
        from culnig.prompts import SCORE_CALIBRATION

        policy = self.policy(lm)
        return policy if self.calibration != "auto" else policy.model_copy(update={"calibration": SCORE_CALIBRATION})

    def _policy(self, formulation: str) -> PromptPolicy:
        from culnig.prompts import default_calibration, make_policy

        values: dict[str, Any] = {
            "formulation": formulation,
            "calibration": default_calibration(formulation) if self.calibration == "auto" else self.calibration,
            "orders": self.orders,
            "offsets_from": self.offsets_from,
            "chat_template": self.chat_template,
            "bos": self.bos,
            "wordings": int(self.wordings) if self.wordings.isdigit() else self.wordings,
            "system": self.system,
            "template": self.template,
        }
        return make_policy(values, before="--")


@dataclass(frozen=True)
class Loading:
    """How a model is loaded."""

    dtype: Dtype = "auto"
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1, mps; auto: the first GPU if there is one.", rich_help_panel=MODEL)
    ] = "auto"
    revision: Revision = None
    trust: Trust = False
    quantize: Annotated[
        str | None, typer.Option(help="4bit or 8bit: load with bitsandbytes.", rich_help_panel=MODEL)
    ] = None
    merge_adapter: MergeAdapter = False
    device_map: Annotated[
        str | None,
        typer.Option(
            help="auto, balanced, sequential: spread a large model over all devices (accelerate). fsdp: shard it over"
            " the processes of torchrun.",
            rich_help_panel=MODEL,
        ),
    ] = None

    def load(self, model: str, show: Reporter) -> LanguageModel:
        """Load the model, with a line of progress."""
        return load(
            model,
            show,
            dtype=self.dtype,
            device=self.device,
            revision=self.revision,
            trust_remote_code=self.trust,
            quantize=self.quantize,
            merge_adapter=self.merge_adapter,
            device_map=self.device_map,
        )


def grouped(verb: Callable[..., None], **fixed: Any) -> Callable[..., None]:
    """Return the verb for typer: each parameter that is a group of options becomes the options of its fields.

    Args:
        verb: a function; its parameters annotated with a dataclass are groups.
        **fixed: fields that are not options of this verb, and their values.
    """
    hints = get_type_hints(verb, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for name, parameter in inspect.signature(verb).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))
            continue
        own = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            if field.name not in fixed:
                default = inspect.Parameter.empty if field.default is MISSING else field.default
                parameters.append(
                    inspect.Parameter(
                        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=own[field.name]
                    )
                )

    def called(**values: Any) -> None:
        verb(**_gathered(groups, fixed, values))

    called.__name__, called.__doc__ = verb.__name__, verb.__doc__
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _gathered(groups: Mapping[str, Any], fixed: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a command line as arguments of the verb, with each group's values in its dataclass."""
    taken = {}
    for name, kind in groups.items():
        names = [field.name for field in fields(kind)]
        taken[name] = kind(**{each: fixed[each] if each in fixed else values.pop(each) for each in names})
    return values | taken


def split_list(text: str | None) -> list[str] | None:
    """Return "A, B" as ["A", "B"]; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def reporter(as_json: bool) -> Reporter:
    """Return a reporter on stderr, or a silent one; of several processes, only the main one reports."""
    from culnig import distributed
    from culnig.progress import Silent, Terminal

    return Silent() if as_json or not distributed.is_main() else Terminal()


def load(model: str, show: Reporter, **options: Any) -> LanguageModel:
    """Load a model with a line of progress; `options` are those of `load_model`."""
    from culnig.models import load_model

    with show.step(f"load {model}"):
        return load_model(model, say=show.say, **options)


def check_model(chosen: NeuronSet, lm: LanguageModel, path: Path | None) -> None:
    """Check that a set belongs to a model by the recorded hash, because shapes alone could not tell.

    Raises:
        UsageError: the set was made on another model, or names neurons that this one does not have.
    """
    from culnig.neurons import check_belongs

    made_on = chosen.provenance.get("model_hash")
    if made_on and not lm.is_model(made_on):
        raise UsageError(
            f"{path} was made on another model ('{chosen.model_name}', hash {made_on}; {lm.name} has {lm.fingerprint})"
        )
    check_belongs(chosen, lm.shapes, lm.name)


def print_json(value: Any) -> None:
    """Print JSON on stdout."""
    from culnig.files import json_text

    typer.echo(json_text(value, default=str))


def listing(label: str, package: str, group: str) -> type[TyperCommand]:
    """Return a kind of command whose `--help` ends with the names of a registry, including those of installed packages.

    The names are looked up when help is requested, and nothing is imported.

    Args:
        label: heading of the names ("Studies").
        package, group: see `registry.announced`.
    """

    class Listing(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            from culnig.registry import announced

            self.epilog = f"{self.epilog or ''}\n\n{label}: {', '.join(announced(package, group))}."
            super().format_help(ctx, formatter)

    return Listing
