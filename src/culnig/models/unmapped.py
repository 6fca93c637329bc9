"""Architectures that are not in the table of families, although transformers has a causal language model of them: why."""

from __future__ import annotations

REASONS: dict[str, tuple[str, ...]] = {
    "it has no attention: a state space or another recurrence alone": (
        "falcon_mamba",
        "mamba",
        "mamba2",
        "rwkv",
        "xlstm",
    ),
    "some layers share one attention and MLP, so a neuron would stand in several layers": ("zamba", "zamba2"),
    "its layers run several times in a pass, so a neuron has several values at a position": ("hrm_text",),
    "a layer has two attentions and two MLPs, and a neuron's name holds one": ("longcat_flash",),
    "its experts are kept in a form of their own, which no hook reaches": ("dbrx", "jetmoe"),
    "its attention makes q, k and v by further convolutions or in other parts": (
        "deepseek_v4",
        "inkling2_text",
        "inkling_text",
        "zaya",
    ),
    "its attention has a layout that nobody has mapped yet": (
        "axk2",
        "doge",
        "dots3_note",
        "dots3_note_text",
        "hy_v4",
        "qwen4_exp",
        "qwen4_exp_text",
    ),
    "it reads bytes in patches, so answers are no tokens of it": ("blt",),
    "its decoder is made for images": (
        "cohere_compass_text",
        "emu3",
        "fuyu",
        "git",
        "got_ocr2",
        "mllama",
        "phi4_multimodal",
        "trocr",
    ),
    "its decoder sits beside encoders of images and sound, and has not been run so; the decoder alone is mapped": (
        "gemma4",
        "gemma4_unified",
    ),
    "it drafts tokens for another model, and reads that model's states": (
        "gemma4_assistant",
        "gemma4_unified_assistant",
    ),
    "its decoder is made for sound": (
        "moshi",
        "moss_transcribe_diarize",
        "musicgen",
        "musicgen_melody",
        "whisper",
    ),
    "it is the decoder of an encoder-decoder": (
        "bart",
        "bigbird_pegasus",
        "blenderbot",
        "blenderbot-small",
        "marian",
        "mbart",
        "mvp",
        "pegasus",
        "plbart",
        "prophetnet",
    ),
    "it is an encoder, and its checkpoints are not trained to continue a text": (
        "bert",
        "bert-generation",
        "big_bird",
        "camembert",
        "data2vec-text",
        "electra",
        "ernie",
        "megatron-bert",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roc_bert",
        "roformer",
        "xlm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ),
    "its attention is not that of one causal pass over tokens": ("cpmant", "reformer", "xlnet"),
    "it begins each text with a control code, which no template gives": ("ctrl",),
    "it is a name of tokenizers; its checkpoints are of the family gpt2": ("gpt-sw3",),
}
"""Reason -> the `model_type`s."""


def reason_against(model_type: str) -> str:
    """Return why an architecture is not mapped; "" if nothing is known of it."""
    return next((reason for reason, types in REASONS.items() if model_type in types), "")
