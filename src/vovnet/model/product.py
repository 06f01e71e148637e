"""How fast a card multiplies matrices, against which the speed of a model is told."""

import time
from collections.abc import Callable

import torch

PRODUCT = (11200, 4096, 12288)
"""Rows, inner size and columns of the product that is measured."""


def measured_s(run: Callable[[], object], repeats: int) -> float:
    """Seconds that a call needs on the card, after a first one."""
    run()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def matrix_product() -> float | None:
    """TFLOP/s of a product in bfloat16; None on a card that has none."""
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return None
    rows, inner, columns = PRODUCT
    left = torch.randn(rows, inner, device="cuda", dtype=torch.bfloat16)
    right = torch.randn(inner, columns, device="cuda", dtype=torch.bfloat16)
    return 2 * rows * inner * columns / measured_s(lambda: left @ right, 50) / 1e12
