"""GPT-NeoX and Pythia: q, k and v in one projection, interleaved by head: [q of head 0 | k of head 0 | v of head 0 | ...].

The MLP has no gate: its input projection `dense_h_to_4h` goes through the activation function as a gate does, and is the
site `mlp.gate_proj`.  There is no `mlp.up_proj`.
"""

from typing import Any

from culnig.models._family import FAMILIES, Family, Part, head_width
from culnig.neurons import ATTENTION_POOL, GATE


def _interleaved(which: int) -> Part:
    """q, k or v (which = 0, 1, 2): neuron i of the site is coordinate i % width of head i // width."""

    def rows(config: Any) -> list[int]:
        width = head_width(config)
        return [(3 * head + which) * width + i for head in range(config.num_attention_heads) for i in range(width)]

    return Part("attention.query_key_value", rows)


FAMILIES.register("gpt_neox")(
    Family(
        layers="gpt_neox.layers",
        parts={GATE: Part("mlp.dense_h_to_4h")}
        | {module: _interleaved(which) for which, module in enumerate(ATTENTION_POOL)},
    )
)
