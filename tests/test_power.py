"""How many questions show a gain: by the textbook, by drawing, and as a command."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml

from support.replays import World
from vovnet import cli
from vovnet.core.arrays import Floats
from vovnet.core.resampling import Estimate, mean_over_seeds
from vovnet.evaluation.power import ObservedGain, observed_gains

ONE_SEED = ObservedGain("a", "50", 3.0, 800, 400, 1, shared=1.0, chance=0.0, trainings=0.0)
THREE_SEEDS = ObservedGain("a", "50", 3.0, 800, 400, 3, shared=1.0, chance=0.0, trainings=0.75)


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


def drawn(
    factor: float, gain: float, shared: float, chance: float, trainings: float, count: int = 2000
) -> Estimate:
    """Gains of three seeds on `factor` times the questions, each with 300 resamples."""
    rng = np.random.default_rng(0)

    def noise(variance: float, *shape: int) -> Floats:
        return rng.normal(0, math.sqrt(variance), (*shape, count))

    means_SK = gain + noise(trainings, 3) + noise(chance / factor, 3) + noise(shared / factor)
    resampled_SBK = noise(chance / factor, 3, 300) + noise(shared / factor, 300)
    values_SBK = np.concatenate([np.zeros((3, 1, count)), resampled_SBK], axis=1)
    return mean_over_seeds(means_SK[:, None] + values_SBK)


@pytest.mark.parametrize(
    "variances", [(1.0, 0.0, 0.0), (0.04, 1.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 0.1)]
)
def test_a_gain_is_shown_as_often_as_is_said(variances: tuple[float, float, float]) -> None:
    """Three seeds that differ by questions, by what each does with them by chance, and in truth."""
    item = ObservedGain("a", "50", 0.0, 400, 400, 3, *variances)
    shown = drawn(1, item.detectable(1, 0.8), *variances).p_value < 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.03)
    factor = item.needed(2.0, 0.8) / 400
    shown = drawn(factor, 2.0, *variances).p_value < 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.03)


def test_chance_falls_with_the_number_of_questions() -> None:
    """Trainings that are alike: what each answers by chance is not taken for what they are."""
    told = drawn(1, 0.0, 0.04, 1.0, 0.0, 400)
    assert told.shared_variance.mean() == pytest.approx(0.04, abs=0.02)
    assert told.chance_variance.mean() == pytest.approx(1.0, abs=0.02)
    parts = zip(told.shared_variance, told.chance_variance, told.trainings_variance, strict=True)
    needed = [ObservedGain("a", "50", 0, 400, 400, 3, *part).needed(2.0, 0.8) for part in parts]
    assert np.isinf(needed).mean() < 0.3
    truth = ObservedGain("a", "50", 0, 400, 400, 3, 0.04, 1.0, 0.0).needed(2.0, 0.8)
    assert np.median(needed) == pytest.approx(truth, rel=0.1)


def test_one_cluster_tells_nothing() -> None:
    unknown = ObservedGain("a", "50", 0, 4, 1, 1, math.nan, 0.0, 0.0)
    # Nor does a gain that varied by nothing, as where every answer is right.
    constant = ObservedGain("a", "50", 0, 40, 40, 3, 0.0, 0.0, 0.0)
    for item in (unknown, constant):
        assert math.isnan(item.needed(1.0, 0.8)) and math.isnan(item.detectable(1, 0.8))


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
