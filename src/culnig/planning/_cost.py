"""What a pass costs: floating-point operations, from the shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

from culnig.models import LanguageModel
from culnig.models._batch import Row


@dataclass(frozen=True)
class Shape:
    """What the operations of a forward pass depend on.

    Attributes:
        layer_weights: matrix weights that a token meets in all layers together (of experts only those it is routed to).
        head_weights: weights of the output embedding.
        attention: heads times head size, summed over the layers.
    """

    layer_weights: int
    head_weights: int
    attention: int

    def forward(self, row: Row) -> int:
        """FLOPs of one row: 2 a weight and token, attention over the tokens that each may see, and the head where needed.

        The head is needed behind the prompt and within the answers; at every token of a row without answers, which is read.
        """
        prompt, branches = len(row.prompt), [len(answer) - 1 for answer in row.answers]
        pairs = prompt * (prompt + 1) // 2 + sum(b * prompt + b * (b + 1) // 2 for b in branches)
        needed = 1 + sum(branches) if row.answers else row.length
        return 2 * (self.layer_weights * row.length + 2 * self.attention * pairs + self.head_weights * needed)

    def scoring(self, row: Row) -> int:
        """Forward, and as much again for the gradients of the inputs; weights get none."""
        return 2 * self.forward(row)


def shape_of(lm: LanguageModel) -> Shape:
    """The shape of a model; its weights may be on the meta device."""
    text = lm.text_config
    experts = getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None) or 1
    routed = getattr(text, "num_experts_per_tok", None) or 1
    weights = 0
    for layer in lm.layers:
        for parameter in layer.parameters():
            if parameter.ndim == 3:  # stacked experts
                weights += parameter.numel() * routed // experts
            elif parameter.ndim == 2:
                weights += parameter.numel()
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    head = lm.model.get_output_embeddings().weight
    return Shape(weights, head.numel(), lm.num_layers * text.num_attention_heads * head_size)
