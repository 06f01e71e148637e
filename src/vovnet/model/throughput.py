"""What a card was measured to do with a model: the file bench_gpu.json, read and checked.

TFLOP/s count what the model needs: forward passes, and backward passes through activations as
training asks for them. What is computed twice to save memory does not count. Loads no torch.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vovnet.config import first_error
from vovnet.core.errors import DataError
from vovnet.core.files import read_json

PACKAGED = Path(__file__).resolve().parents[1] / "assets" / "bench_gpu.json"
"""The last measurement, which comes with the package."""

Measure = Annotated[float, Field(gt=0)]

Share = Annotated[float, Field(gt=0, le=1)]


class Measured(BaseModel):
    """Part of a measurement; what else its file holds is for other readers."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class TrainingThroughput(Measured):
    stage1_tflops: Measure
    stage2_tflops: Measure


class ObservationThroughput(Measured):
    """`tflops` is that of the whole way, from image files to tables."""

    prefill_tflops: Measure
    questions_per_s: Measure
    tflops: Measure
    decode_ms_per_step: Measure


class LiveTimes(Measured):
    """Of one question at a time; `prefill_full_ms` is from FULL's pixels to the first logits."""

    text_pass_ms: Measure
    token_ms: Measure
    prefill_full_ms: Measure


class Throughput(Measured):
    """A whole measurement. `scaling` maps numbers of cards to what each of them keeps of one."""

    device: str
    model: str
    source: str = ""
    matmul_tflops: Measure
    training: TrainingThroughput
    observation: ObservationThroughput
    live: LiveTimes
    scaling: dict[Annotated[int, Field(gt=1)], Share] = Field({})

    def kept_on(self, cards: int) -> float:
        """What each card keeps beside others: as measured, else on most cards below that."""
        known = [count for count in self.scaling if count <= cards]
        return self.scaling[max(known)] if known else 1.0


def load_throughput(path: Path) -> Throughput:
    """Read the file that `plan.throughput` names; what is wrong with it is an error of one line."""
    try:
        # As JSON, whose numbers are numbers: neither a text nor true stands for one.
        return Throughput.model_validate_json(json.dumps(read_json(path)), strict=True)
    except ValidationError as error:
        raise DataError(f"plan.throughput: {path}: {first_error(error)}") from None
    except DataError as error:
        raise DataError(f"plan.throughput: {error}") from None
