"""Log-probabilities of tokens and their gradients, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from culnig.passes.logprobs import ROWS, token_logprobs_at


@pytest.mark.parametrize("rows", [1, ROWS, 3 * ROWS + 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_pytorch(rows, dtype):
    torch.manual_seed(rows)
    ours = (8 * torch.randn(rows, 301)).to(dtype).requires_grad_(True)
    theirs = ours.detach().clone().requires_grad_(True)
    # Some rows several times, one of them twice with the same token, and others not at all.
    at = torch.cat([torch.randint(rows, (2 * rows,)), torch.tensor([0, 0])])
    token = torch.cat([torch.randint(301, (2 * rows,)), torch.tensor([7, 7])])
    weights = torch.randn(len(at))

    found = token_logprobs_at(ours, at, token)
    wide = theirs.float()
    expected = wide[at, token] - torch.logsumexp(wide, dim=-1)[at]
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_row_without_a_number_has_none():
    logits = torch.randn(ROWS + 2, 11)
    logits[ROWS, 3] = float("nan")
    found = token_logprobs_at(logits, torch.arange(ROWS + 2), torch.zeros(ROWS + 2, dtype=torch.long))
    assert found.isnan().nonzero().flatten().tolist() == [ROWS]
