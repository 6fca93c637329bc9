"""Options that several verbs share, and what they turn into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.errors import UsageError

if TYPE_CHECKING:
    from culnig.benchmarks import Item
    from culnig.models import LanguageModel
    from culnig.neurons import NeuronSet
    from culnig.progress import Reporter
    from culnig.prompts import PromptPolicy

Model = Annotated[str, typer.Option("--model", "-m", help="Alias (smollm2-135m), GGUF file, folder, or hub id.")]
Items = Annotated[str, typer.Option("--items", "-i", help="benchmark:split[@place], own.yaml:split, or item file.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16; auto: float32 on a CPU, else the checkpoint's.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto: the first GPU if there is one.")]
Revision = Annotated[str | None, typer.Option(help="Commit or branch of a hub id.")]
Quantize = Annotated[str | None, typer.Option(help="4bit or 8bit: load with bitsandbytes.")]
MergeAdapter = Annotated[bool, typer.Option("--merge-adapter", help="Add a PEFT adapter to the weights.")]
DeviceMap = Annotated[
    str | None, typer.Option(help="auto, balanced, sequential: spread a large model over all devices (accelerate).")
]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
Formulation = Annotated[
    str, typer.Option(help="mcf: answer with a label; cf: score each option's text; auto: what suits the model.")
]
Chat = Annotated[str, typer.Option("--chat-template", help="auto (on for mcf if there is one), on, off.")]
Bos = Annotated[str, typer.Option(help="auto (what the tokenizer does), on, off.")]
Wordings = Annotated[str, typer.Option(help="Prompt wordings of each item: a number, or all.")]
System = Annotated[str | None, typer.Option(help="System prompt (with a chat template).")]
TemplateFile = Annotated[str | None, typer.Option("--template", help="Prompt template: a name, or your YAML file.")]
Countries = Annotated[str | None, typer.Option(help="Only these, separated by commas.")]
Limit = Annotated[int | None, typer.Option("--limit-per-country", help="A seeded sample of so many items a country.")]
Draws = Annotated[int | None, typer.Option(help="Option draws of each question (everyday has 3).")]
Seed = Annotated[int, typer.Option(help="Seed of option draws and samples.")]
Budget = Annotated[
    int | None, typer.Option("--token-budget", help="Padded tokens a batch; results do not depend on it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and no progress.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]


def split_list(text: str | None) -> list[str] | None:
    """ "A, B" -> ["A", "B"]; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def reporter(as_json: bool) -> Reporter:
    """Progress on stderr, or none."""
    from culnig.progress import Silent, Terminal

    return Silent() if as_json else Terminal()


def load(model: str, show: Reporter, **options: Any) -> LanguageModel:
    """Load a model with a line of progress; `options` are those of `load_model`."""
    from culnig.models import load_model

    with show.step(f"load {model}"):
        return load_model(model, say=show.say, **options)


def items(source: str, countries: str | None, limit: int | None, draws: int | None, seed: int) -> list[Item]:
    """Load items; rows that gave none are told on stderr."""
    from culnig.benchmarks import ItemList, load_items

    found = load_items(source, countries=split_list(countries), limit_per_country=limit, draws=draws, seed=seed)
    if isinstance(found, ItemList):
        typer.secho(f"  {source}: {len(found):,} items of {found.account}", fg="bright_black", err=True)
    return found


def policy(
    lm: LanguageModel, formulation: str, chat: str, bos: str, wordings: str, system: str | None, template: str | None
) -> PromptPolicy:
    """The prompt policy of the options.

    Raises:
        UsageError: a value that is not one of an option's.
    """
    from pydantic import ValidationError

    from culnig.prompts import PromptPolicy

    values: dict[str, Any] = {
        "formulation": lm.formulation if formulation == "auto" else formulation,
        "chat_template": chat,
        "bos": bos,
        "wordings": int(wordings) if wordings.isdigit() else wordings,
        "system": system,
        "template": template,
    }
    try:
        return PromptPolicy(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{name} {first['input']}: {first['msg'].lower()}") from error


def check_model(chosen: NeuronSet, lm: LanguageModel, path: Path | None) -> None:
    """Check that a set belongs to a model: it records its model's hash, since shapes alone would not tell.

    Raises:
        UsageError: the set was made on another model, or names neurons that this one does not have.
    """
    from culnig.neurons import check_belongs

    made_on = chosen.provenance.get("model_hash")
    if made_on and made_on != lm.fingerprint:
        raise UsageError(
            f"{path} was made on another model ('{chosen.model_name}', hash {made_on}; {lm.name} has {lm.fingerprint})"
        )
    check_belongs(chosen, lm.shapes, lm.name)


def print_json(value: Any) -> None:
    """JSON on stdout."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))
