"""Large models: low-rank adapters over a frozen base in half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import settings_of

from vovnet.layout import Layout
from vovnet.model import VoVNet, load_trained, save_weights

LORA: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.05}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_adapters_are_float32_over_a_base_in_half_precision(fresh: Layout, dtype: str) -> None:
    """They are what is trained; the base is frozen, and both come back from a file."""
    model_settings = {"dtype": dtype, "lora": LORA}
    settings = settings_of(fresh, {"model": model_settings})
    model = VoVNet(settings)
    adapters = {name: value for name, value in model.vlm.named_parameters() if "lora_" in name}
    assert adapters
    for name, value in model.vlm.named_parameters():
        assert value.requires_grad == (name in adapters), name
        assert value.dtype == (torch.float32 if name in adapters else getattr(torch, dtype)), name
    with torch.no_grad():
        for value in adapters.values():
            value.fill_(1 / 3)  # no number of 16 bits
    save_weights(model, fresh.root / "model.safetensors")
    loaded = load_trained(settings, fresh.root / "model.safetensors", torch.device("cpu"))
    assert_equal(loaded.state_dict(), model.state_dict())
    sequence = loaded.vlm.sequence(loaded.vlm.prompt("What is shown?"))
    with torch.inference_mode():
        hidden_BTD, _ = loaded.vlm.hidden_states([sequence])
    assert hidden_BTD.dtype == getattr(torch, dtype)
    assert bool(hidden_BTD.isfinite().all())


def assert_equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    for name, value in some.items():
        assert value.dtype == others[name].dtype, name
        assert torch.equal(value, others[name]), name
