"""`culnig export`: write a checkpoint with the intervention built in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culnig.cli import _options as o
from culnig.cli._intervening import Op, ReferenceOf, measured, reference_of


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "export",
        epilog="Example:  culnig export --model smollm2-135m --neurons g.json --op suppress --out checkpoint"
        "\n\nFor llama.cpp:  culnig export --model model.gguf --neurons g.json --out suppressed.gguf",
    )(export)


def export(
    model: o.Model,
    neurons: Annotated[Path, typer.Option(help="Neuron set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the checkpoint, or NAME.gguf.")],
    op: Op = "suppress",
    reference: ReferenceOf = None,
    dtype: o.Dtype = "auto",
    revision: o.Revision = None,
    trust: o.Trust = False,
    merge_adapter: o.MergeAdapter = False,
    as_json: o.Json = False,
) -> None:
    """Write the edited model as a transformers folder (safetensors); it loads without culnig.

    With --out NAME.gguf and a GGUF file as the model, write a GGUF file with the neurons suppressed.
    """
    from culnig.errors import UsageError
    from culnig.intervention import Operation
    from culnig.intervention.export import export as write
    from culnig.intervention.gguf_file import export_gguf
    from culnig.neurons import NeuronSet

    operation = Operation.parse(op)
    as_gguf = out.suffix == ".gguf"
    if as_gguf and not model.endswith(".gguf"):
        raise UsageError(f"--out {out}: a GGUF file is made from a GGUF file; give one as --model, or export a folder")
    source = reference_of(operation, reference)
    chosen = NeuronSet.load(neurons)
    show = o.reporter(as_json)
    lm = o.load(
        model,
        show,
        dtype=dtype,
        device="cpu",
        revision=revision,
        trust_remote_code=trust,
        merge_adapter=merge_adapter,
    )
    means = measured(source, lm, show)
    with show.step("write the checkpoint"):
        if as_gguf:
            export_gguf(lm, Path(model), chosen, operation, out)
        else:
            write(lm, chosen, operation, out, means)
    if as_json:
        o.print_json({"out": str(out), "neurons": len(chosen), "operation": op})
    else:
        typer.echo(f"{out}: {lm.name} with {len(chosen):,} neurons under {op}")
