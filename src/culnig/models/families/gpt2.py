"""GPT-2: Conv1D projections, whose weight's columns are the outputs; q, k and v in one.

The MLP has no gate: its input projection `c_fc` stands behind the activation function as a gate does, and is the site
`mlp.gate_proj`.  There is no `mlp.up_proj`.
"""

from culnig.models._family import FAMILIES, Family, Part, query_key_value
from culnig.neurons import GATE

FAMILIES.register("gpt2")(
    Family(layers="transformer.h", parts={GATE: Part("mlp.c_fc")} | query_key_value("attn.c_attn"))
)
