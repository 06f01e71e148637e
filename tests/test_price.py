"""`lambda_cost` per share of FULL's mean cost means the same on every set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.replays import GRADED, evaluate_all, make_samples, samples_of, write_world
from vovnet.config import PolicySettings, Settings, VisionBudget, merge, run_settings, validate
from vovnet.core.cost import unit_price
from vovnet.core.records import ImageRef
from vovnet.data.price import priced
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.pipeline.keys import step_settings

SHARE = {"lambda_unit": "share_of_full"}
LAMBDAS = [0.0, 0.01, 0.02, 0.1]


def test_the_price_is_that_of_what_full_costs_on_average() -> None:
    assert unit_price(0.3, [10, 20]) == pytest.approx(0.02)
    assert unit_price(0.3, [0, 0]) == 0.3, "a set without images has nothing to price"
    samples = make_samples("world", 2, np.random.default_rng(0))
    small = ImageRef(path="b.png", width=64, height=128, sha256="1" * 64)
    samples[1] = samples[1].model_copy(update={"images": [small]})
    policy = PolicySettings(lambda_cost=0.3, cost_scale=0.5, **SHARE)
    found = priced(policy, samples, VisionBudget())
    assert found.lambda_cost == pytest.approx(0.3 / (0.5 * (16 + 8) / 2))
    assert found.lambda_unit == "cost" and priced(found, samples, VisionBudget()) == found


def test_a_share_of_full_is_the_same_decision(tmp_path: Path) -> None:
    """FULL costs 16 of every question here; a part of the questions has the price of all."""
    swept = {"title": "VoVNet", "role": "vovnet", "sweep": {"lambda_cost": LAMBDAS}}
    shares: dict[str, Any] = {"policy": SHARE, "sweep": {"lambda_cost": [16 * x for x in LAMBDAS]}}
    stanzas = {
        "cost": swept,
        "share": swept | shares,
        "part": swept | shares | {"max_samples": 20},
        "router": swept | shares | {"policy": SHARE | {"baseline_name": "bayes_router"}},
    }
    for name in ("cost", "share"):  # copied by a random policy, which follows no price
        policy = stanzas[name].get("policy", {}) | {"baseline_name": "random_policy_matched"}
        match = {"experiment": name, "lambda_costs": stanzas[name]["sweep"]["lambda_cost"]}
        stanzas[f"random_{name}"] = {"title": "Random", "policy": policy, "match": match}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 60)
    settings = validate(settings.model_dump() | {"experiments": stanzas}, "test")
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    for kind in ("", "random_"):
        cost, share = (samples_of(layout, f"{kind}{name}") for name in ("cost", "share"))
        pd.testing.assert_frame_equal(cost, share)
    share = samples_of(layout, "share")
    part = samples_of(layout, "part").groupby("point")["action"].apply(list)
    whole = share.groupby("point")["action"].apply(list)
    assert part.tolist() == [actions[:20] for actions in whole]
    rows = read_results(layout.eval("share") / "results.csv")
    assert rows["lambda_cost"].tolist() == [16 * x for x in LAMBDAS]
    assert set(rows["lambda_unit"]) == {"share_of_full"}
    assert "lambda_unit" not in read_results(layout.eval("cost") / "results.csv")


def test_no_result_changes_where_it_is_not_asked_for() -> None:
    """Steps read the unit, and the sizes of views, only where they change a price."""
    plain = validate({"experiments": {"one": {"title": "1"}}}, "test")
    other = validate(merge(plain.model_dump(), {"policy": SHARE}), "test")

    def settings_of(value: Settings) -> dict[str, Any]:
        return step_settings(value, "evaluate", experiment="one")

    assert "lambda_unit" not in settings_of(plain)["policy"]
    assert "vision_budget" not in settings_of(plain)
    assert settings_of(other)["policy"]["lambda_unit"] == "share_of_full"
    assert settings_of(other)["vision_budget"] == other.vision_budget.model_dump()
    assert run_settings(other, "vovnet").policy.lambda_unit == "share_of_full"
