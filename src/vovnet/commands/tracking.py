"""Training followed by one of accelerate's trackers (`training.tracker`).

What training appends to its log is passed on line by line, so that a tracker changes nothing of the
training. Everything stays on this machine unless variables of the tracker's own say otherwise.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vovnet.core.errors import ConfigError, VovnetError
from vovnet.core.files import appended_lines, parse_json, read_json
from vovnet.pipeline import claims
from vovnet.pipeline.keys import step_settings
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.training.loop import LOG_NAME

logger = logging.getLogger(__name__)

OnStep = Callable[[int, int], None]
"""Is told the number of steps that are done, and of all."""

PROJECT = "vovnet"
CALIBRATION = "calibration.json"


def check_tracker(name: str | None) -> None:
    """The tracker must be installed, before anything is trained."""
    if name is not None and find_spec(name) is None:
        raise ConfigError(
            f"training.tracker: {name} is not installed here, expected an installed one or null:"
            f" pip install {name}"
        )


@contextmanager
def tracked(trained: TrainedModel, stage: int, folder: Path, on_step: OnStep) -> Iterator[OnStep]:
    """Yield what is to be called after each step, and calls `on_step`; at the end pass results on.

    The tracker writes below `folder`, and is started by the first step: a finished stage has none.
    """
    name = trained.settings.training.tracker
    if name is None:
        yield on_step
        return
    follower = _Follower(name, trained, stage, folder)

    def followed(done: int, total: int) -> None:
        on_step(done, total)
        follower.step()

    try:
        yield followed
        follower.end()
    finally:
        follower.finish()


class _Follower:
    """Reads on in the log of the folder that this process trains in."""

    def __init__(self, name: str, trained: TrainedModel, stage: int, folder: Path) -> None:
        self.name, self.trained, self.stage, self.folder = name, trained, stage, folder
        self.tracker: Any = None
        self.trains_in = Path()
        self.position = 0

    def step(self) -> None:
        if not self.trains_in.name:
            self.trains_in = claims.AT_WORK[-1]
            self.tracker = self._started()
        if self.tracker is None:
            return
        with self._left_out_if_it_fails():
            path = self.trains_in / LOG_NAME
            if path.exists():
                lines, self.position = appended_lines(path, self.position)
                for line in map(parse_json, lines):
                    self.tracker.log(_numbers(line), step=line["step"])

    def end(self) -> None:
        """Pass on the last lines, the number of steps and the calibration of the head."""
        if self.tracker is None:
            return
        self.step()
        results: dict[str, Any] = {}
        if (self.trains_in / CALIBRATION).exists():
            pairs = read_json(self.trains_in / CALIBRATION)["pairs"]
            results = {f"calibration/{name}": _numbers(pair) for name, pair in pairs.items()}
        manifest = read_json(self.trains_in / claims.MANIFEST)
        counts = {key: manifest[key] for key in ("num_steps", "num_samples")}
        with self._left_out_if_it_fails():
            if self.tracker is not None:
                self.tracker.log(_flat({"result": counts | results}), step=counts["num_steps"])

    def finish(self) -> None:
        """End the tracker, whether the training ended well or not."""
        with self._left_out_if_it_fails():
            if self.tracker is not None:
                self.tracker.finish()

    @contextmanager
    def _left_out_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any library; what is trained is worth more than its curves
            logger.warning("training.tracker: %s fails and is left out: %s", self.name, error)
            self.tracker = None

    def _started(self) -> Any:
        """The tracker, told what the stage is trained with."""
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        label = f"{self.trained.run}-seed{self.trained.seed}-stage{self.stage}"
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = str(self.folder.resolve())
        for key, value in _at_home(folder).items():
            os.environ.setdefault(key, value)
        arguments: dict[str, dict[str, Any]] = {
            # A killed training is told once more from its first step, in place of what was told.
            "tensorboard": {"run_name": label, "logging_dir": folder, "purge_step": 0},
            "wandb": {"run_name": PROJECT, "name": label, "dir": folder},
            "trackio": {"run_name": PROJECT, "name": label},
            "mlflow": {"experiment_name": PROJECT, "run_name": label},
        }
        settings = step_settings(
            self.trained.suite,
            "train",
            run=self.trained.run,
            seed=self.trained.seed,
            stage=self.stage,
        )
        try:
            tracker = LOGGER_TYPE_TO_CLASS[self.name](**arguments[self.name])
            tracker.start()
            tracker.store_init_configuration(_flat(settings))
        except Exception as error:  # of any library
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise VovnetError(f"training.tracker: {self.name} does not start: {reason}") from None
        return tracker


def _at_home(folder: str) -> dict[str, str]:
    """Variables by which trackers keep everything in a folder and ask no network."""
    return {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "TRACKIO_DIR": folder,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """What can be drawn as a curve."""
    left_out = {"step", "stage"}
    kinds = {name: value for name, value in line.items() if name not in left_out}
    return {name: value for name, value in kinds.items() if type(value) in (int, float)}


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings with the path of each value as its name; lists as text."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        key = f"{above}/{name}" if above else str(name)
        if isinstance(item, Mapping):
            flat |= _flat(item, key)
        elif item is not None:
            flat[key] = item if isinstance(item, bool | int | float | str) else json.dumps(item)
    return flat
