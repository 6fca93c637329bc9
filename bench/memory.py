"""Peak memory of scoring against a plain training-mode forward and backward, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

CHILD = """
import json, resource, sys
import torch, culnig
from culnig.models._batch import Row, answer_logprobs, batches, collate
from culnig.prompts import encode, render
model, items, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
lm = culnig.load_model(model)
chosen = culnig.load_items("everyday:neur", draws=1)[:items]
policy = lm.policy("cf")
encoded = encode(render(chosen, policy), lm.tokenizer, policy)
rows = [Row(i, e.prompt_ids, e.answer_ids) for i, e in enumerate(encoded)]
budget = 2048
first = [collate(r, lm.device) for r in batches(rows, budget)]
with torch.no_grad():
    answer_logprobs(lm, collate(rows[:1], lm.device))
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if what == "score":
    culnig.score(lm, chosen, policy=policy, token_budget=budget)
else:
    for batch in first:
        embedded = lm.model.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
        lm.model.train()
        answer_logprobs(lm, batch, embedded).answer_logprobs.sum().backward()
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base))
"""


def scoring_over_training(model: str, items: int) -> float:
    """Extra peak resident memory of scoring over that of forward + backward with frozen weights."""

    def extra(what: str) -> int:
        command = [sys.executable, "-c", CHILD, model, str(max(items, 64)), what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(json.loads(done.stdout.strip().splitlines()[-1]))

    return extra("score") / extra("train")
