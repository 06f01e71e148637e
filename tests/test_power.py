"""How many questions show a gain: by the textbook, by drawing, and as a command."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml

from support.replays import World
from vovnet import cli
from vovnet.core.resampling import mean_over_seeds
from vovnet.evaluation.power import Observed, observed_gains

ONE_SEED = Observed("a", "50", 3.0, 800, 400, 1, questions=1.0, trainings=0.0)
THREE_SEEDS = Observed("a", "50", 3.0, 800, 400, 3, questions=1.0, trainings=0.5)


def test_one_seed_by_the_textbook() -> None:
    """n = (z_0.975 + z_0.8)^2 sigma^2 / gain^2, in clusters of two questions."""
    for gain in (1.0, 2.0):
        clusters = 400 * (1.959964 + 0.841621) ** 2 / gain**2
        assert ONE_SEED.needed(gain, 0.8) == 2 * math.ceil(clusters)
    assert ONE_SEED.detectable(1, 0.8) == pytest.approx(1.959964 + 0.841621)
    assert ONE_SEED.detectable(4, 0.8) == pytest.approx((1.959964 + 0.841621) / 2)


def test_no_number_of_questions_makes_up_for_seeds() -> None:
    """Student's t of three seeds, 4.30, times what they differ by is more than a point."""
    assert THREE_SEEDS.needed(1.0, 0.8) == math.inf
    needed = THREE_SEEDS.needed(3.0, 0.8)
    assert ONE_SEED.needed(3.0, 0.8) < needed < math.inf
    assert THREE_SEEDS.detectable(needed / 800, 0.8) == pytest.approx(3.0, rel=0.01)


def test_a_gain_is_shown_as_often_as_is_said() -> None:
    """Three seeds that differ only by what questions do to all of them."""
    item = Observed("a", "50", 0.0, 400, 400, 3, questions=1.0, trainings=0.0)
    rng, count = np.random.default_rng(0), 4000
    shared_BK = rng.normal(0, 1, (301, count))
    values_SBK = np.tile(item.detectable(1, 0.8) + shared_BK, (3, 1, 1))
    values_SBK[:, 1:] += shared_BK[0]
    shown = mean_over_seeds(values_SBK).p_value < 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.03)


def test_the_command_tells_of_finished_results(
    evaluated: World, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, layout = evaluated
    config = layout.root / "power.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    call = ["power", "--config", str(config), "--gain", "0.5", "30"]
    assert cli.main(call) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert len(lines) == 2 * 3
    found = observed_gains(settings, layout, "vovnet")
    for line, item in zip(lines, found, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:5] == [item.dataset, f"{item.at}%", "600", "600", "2"]
        assert cells[5] == f"{item.gain:.1f}"
    assert "no number" in " ".join(lines)
    for further, message in (
        (["--experiment", "always_full"], "experiments.always_full: expected a sweep"),
        (["--experiment", "other"], "no experiment named 'other'"),
    ):
        assert cli.main([*call, *further]) == 2
        assert message in capsys.readouterr().err
    for wrong in (["--gain", "0"], ["--gain", "nan"], ["--power", "1"]):
        with pytest.raises(SystemExit):
            cli.main([*call[:3], *wrong])
