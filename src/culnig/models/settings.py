"""The settings that name a model and say how to load it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from culnig.settings import Settings


class ModelConfig(Settings):
    """The model of a run, and how it is loaded."""

    name: str = Field("smollm2-135m", description="alias, GGUF file, local folder or hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = Field("auto", description="auto: the first GPU if there is one")
    revision: str | None = Field(None, description="commit or branch of a hub id")
    trust_remote_code: bool = Field(False, description="run code that comes with the model")
    quantize: Literal["4bit", "8bit"] | None = Field(None, description="load with bitsandbytes")
    merge_adapter: bool = Field(False, description="add a PEFT adapter to the weights")
    device_map: Literal["auto", "balanced", "sequential", "fsdp"] | None = Field(
        None, description="spread the layers over all devices (accelerate), or shard them over processes (fsdp)"
    )
