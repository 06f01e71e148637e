"""What training left behind: the logs of both stages, and the calibration of the head's scores."""

import json
from pathlib import Path

import pandas as pd

from vovnet.config import run_settings
from vovnet.config.experiments import stage1_owner
from vovnet.core.errors import DataError
from vovnet.core.files import parse_json, read_json, read_text
from vovnet.core.recorded import check_recorded
from vovnet.pipeline.claims import MANIFEST
from vovnet.report.inputs import Inputs


def load_train_log(inputs: Inputs, run: str, seeds: list[int]) -> pd.DataFrame:
    """The lines of both stages' logs with a `seed` column; a step logged twice counts once."""
    frames = []
    for path, seed, stage in train_logs(inputs, run, seeds):
        check_recorded(path, path.with_name(MANIFEST))
        lines = _log_lines(path)
        if not lines:
            raise DataError(f"{path}: no lines, expected the log of stage {stage}")
        frame = pd.DataFrame(lines).drop_duplicates("step", keep="last").sort_values("step")
        frames.append(frame.assign(seed=seed, folder_stage=stage))
    return pd.concat(frames, ignore_index=True)


def train_logs(inputs: Inputs, run: str, seeds: list[int]) -> list[tuple[Path, int, int]]:
    """(file, seed, stage) of every log of a run; stage 1 may belong to another run."""
    owners = {1: stage1_owner(inputs.settings, run), 2: run}
    return [
        (inputs.layout.stage(owner, seed, stage) / "train_log.jsonl", seed, stage)
        for stage, owner in owners.items()
        for seed in seeds
    ]


def calibration_files(inputs: Inputs) -> dict[int, Path]:
    """The calibration of each seed of VoVNet; none where it is not measured."""
    trained = inputs.trained_main_run()
    if trained is None:
        return {}
    run, seeds = trained
    if run_settings(inputs.settings, run).training.calibration_samples == 0:
        return {}
    return {seed: inputs.layout.stage(run, seed, 2) / "calibration.json" for seed in seeds}


def load_calibration(inputs: Inputs) -> pd.DataFrame:
    """A row per seed of VoVNet, pair of actions and bin: predicted, measured, count, ece, slope."""
    rows = []
    for seed, path in calibration_files(inputs).items():
        check_recorded(path, path.with_name(MANIFEST))
        try:
            for pair, value in read_json(path)["pairs"].items():
                facts = {"seed": seed, "pair": pair, "ece": value["ece"], "slope": value["slope"]}
                rows += [facts | item for item in value["bins"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: expected pairs with ece, slope and bins ({error})") from None
    columns = ["seed", "pair", "ece", "slope", "predicted", "measured", "count"]
    return pd.DataFrame(rows, columns=columns)


def _log_lines(path: Path) -> list[dict[str, float]]:
    """The lines of a training log; a last line that a killed process left torn is dropped."""
    lines = read_text(path).splitlines(keepends=True)
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            values.append(parse_json(line))
        except json.JSONDecodeError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise DataError(f"{path}, line {number}: not valid JSON ({error.msg})") from None
    return values
