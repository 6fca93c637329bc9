"""Weights go straight to their device."""

from __future__ import annotations

import pytest
import torch
import transformers

import culnig


@pytest.mark.parametrize(("device", "device_map"), [("cpu", None), ("meta", {"": torch.device("meta")})])
def test_weights_go_straight_to_their_device(device, device_map, reference_dir, monkeypatch):
    """Not through host memory, which several processes on one machine share; a CPU loads as before."""
    given = []
    load = transformers.AutoModelForCausalLM.from_pretrained

    def noted(*args, **options):
        given.append(options.get("device_map"))
        return load(*args, **options)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", noted)
    lm = culnig.load_model(reference_dir, device=device)
    assert given == [device_map]
    assert lm.device.type == device and not hasattr(lm.model, "hf_device_map")
