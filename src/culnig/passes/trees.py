"""Trees of tokens: prompts with their answers, of which every common beginning is computed once.

Questions of one benchmark begin alike: the words before the question, and the question up to the country's name.  Options
do so too.  A tree holds many prompts as one row of tokens, and a token sees its ancestors alone.  Its position is its depth.
What a token computes depends on what it sees, so the log-probabilities are those of the prompts one by one, up to rounding.

Evaluation does this, and so do means of signed sums over items (`attribution.pooled`).  Other scores need each item's own
gradient at each of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from culnig.models import LanguageModel
from culnig.passes.forward import Batch, Row, batches, collate

LARGEST = 128
"""Tokens of a tree at most, unless one prompt has more: attention grows with the square of it."""


@dataclass(slots=True)
class Tree:
    """Prompts with their answers as one row of distinct tokens.

    Attributes:
        key: number of the tree.
        rows: the prompts with their answers.
        tokens: token ids; a token stands behind its parent.
        parents: index of each token's parent; -1 for a first token.
        paths: for each prompt, the tokens after which each answer's tokens are predicted: [answers][tokens of the answer].
    """

    key: int
    rows: list[Row] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    paths: list[list[list[int]]] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def num_prompts(self) -> int:
        return len(self.rows)

    @property
    def needed(self) -> int:
        """The number of tokens whose logits are needed."""
        return len({node for answers in self.paths for path in answers for node in path})

    @property
    def pairs(self) -> int:
        """The number of pairs of a token and one that it sees, itself included."""
        return int(self.depths().sum()) + self.length

    def depths(self) -> np.ndarray:
        """Return each token's position, int64 [T]."""
        depths = np.zeros(self.length, dtype=np.int64)
        for node, parent in enumerate(self.parents):
            depths[node] = depths[parent] + 1 if parent >= 0 else 0
        return depths

    def sees(self) -> np.ndarray:
        """Return which tokens each token sees, bool [T, T]."""
        seen = np.eye(self.length, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    def new_tokens(self, row: Row) -> int:
        """Return how many tokens a prompt with its answers would add."""
        added: set[tuple[int, ...]] = set()
        for answer in row.answers:
            path = row.prompt + answer[:-1]
            node, depth = -1, 0
            while depth < len(path) and (child := self._children.get((node, path[depth]))) is not None:
                node, depth = child, depth + 1
            added.update(path[: end + 1] for end in range(depth, len(path)))
        return len(added)

    def add(self, row: Row) -> None:
        """Add a prompt with its answers; common beginnings are joined."""
        end = self._grow(-1, row.prompt)[-1]
        self.paths.append([[end, *self._grow(end, answer[:-1])] for answer in row.answers])
        self.rows.append(row)

    def _grow(self, node: int, tokens: Sequence[int]) -> list[int]:
        """Walk down from a token, add what is missing, and return the tokens on the way."""
        walked = []
        for token in tokens:
            child = self._children.get((node, token))
            if child is None:
                child = self._children[node, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
            node = child
            walked.append(node)
        return walked


def trees_of(rows: Sequence[Row], largest: int = LARGEST) -> list[Tree]:
    """Put prompts with their answers into trees of at most `largest` tokens; those with a common beginning are neighbours."""
    trees: list[Tree] = []
    for row in sorted(rows, key=lambda row: (row.prompt, row.key)):
        if not trees or trees[-1].length + trees[-1].new_tokens(row) > largest:
            trees.append(Tree(len(trees)))
        trees[-1].add(row)
    return trees


def sharing_batches(rows: Sequence[Row], token_budget: int) -> Sequence[Sequence[Tree | Row]]:
    """Return batches of prompts with their answers, in which they share their beginnings where they can.

    Answers of several tokens need a mask of their own, so their prompts share their beginnings as well.
    Letters do not: their rows are plain causal ones, which every kind of attention takes.
    """
    if any(len(answer) > 1 for row in rows for answer in row.answers):
        return batches(trees_of(rows, min(token_budget, LARGEST)), token_budget)
    return batches(rows, token_budget)


def make_batch(lm: LanguageModel, members: Sequence[Tree | Row]) -> Batch:
    """Make tensors of trees, or of rows, on the model's device."""
    pad = lm.tokenizer.pad_token_id or 0
    if trees := [member for member in members if isinstance(member, Tree)]:
        return collate_trees(trees, lm.device, pad)
    return collate([member for member in members if isinstance(member, Row)], lm.device, pad)


def collate_trees(trees: Sequence[Tree], device: torch.device, pad_id: int = 0) -> Batch:
    """Make tensors of trees on the device; the batch's rows and answers are those of the trees, one after the other."""
    width = max(tree.length for tree in trees)
    input_ids = np.full((len(trees), width), pad_id)
    positions = np.tile(np.arange(width), (len(trees), 1))
    mask = np.tile(np.tri(width, dtype=bool), (len(trees), 1, 1))
    logit_at: dict[tuple[int, int], int] = {}
    answer_index: list[tuple[int, int, int]] = []
    after_prompt: list[int] = []
    first_answer = [0]
    for b, tree in enumerate(trees):
        length = tree.length
        input_ids[b, :length] = tree.tokens
        positions[b, :length] = tree.depths()
        mask[b, :length, :length] = tree.sees()
        for row, answers in zip(tree.rows, tree.paths, strict=True):
            after_prompt.append(logit_at.setdefault((b, answers[0][0]), len(logit_at)))
            for number, (path, answer) in enumerate(zip(answers, row.answers, strict=True), start=first_answer[-1]):
                for node, token in zip(path, answer, strict=True):
                    answer_index.append((logit_at.setdefault((b, node), len(logit_at)), token, number))
            first_answer.append(first_answer[-1] + len(row.answers))
    lengths = np.array([tree.length for tree in trees])
    real = np.arange(width) < lengths[:, None]
    where = torch.tensor(list(logit_at))
    return Batch(
        rows=[row for tree in trees for row in tree.rows],
        input_ids=torch.from_numpy(input_ids).to(device),
        positions=torch.from_numpy(positions).to(device),
        tree_mask=torch.from_numpy(mask).to(device),
        real=None if real.all() else torch.from_numpy(real).to(device),
        logit_rows=where[:, 0].to(device),
        logit_columns=where[:, 1].to(device),
        answer_index=torch.tensor(answer_index).to(device),
        after_prompt=torch.tensor(after_prompt).to(device),
        first_answer=first_answer,
    )
