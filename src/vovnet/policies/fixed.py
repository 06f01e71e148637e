"""Policies that treat every sample alike."""

from __future__ import annotations

import numpy as np

from vovnet.policies.base import COARSE, FULL, NO, REDUCED, Actions, PolicyInputs


def no_vision(inputs: PolicyInputs) -> Actions:
    return np.full(inputs.num_samples, NO)


def always_coarse(inputs: PolicyInputs) -> Actions:
    return np.full(inputs.num_samples, COARSE)


def always_full(inputs: PolicyInputs) -> Actions:
    return np.full(inputs.num_samples, FULL)


def always_reduced(inputs: PolicyInputs) -> Actions:
    """The same reduced view always, which is none of the actions."""
    return np.full(inputs.num_samples, REDUCED)
