"""The sections of the configuration about reports, benches, plans and the resources of jobs."""

from typing import Annotated

from pydantic import Field

from vovnet.config.kinds import (
    GpuModel,
    PathText,
    Pixels,
    Questions,
    Samples,
    Seconds,
    Section,
    Tokens,
    unit,
)
from vovnet.core.layout import PAPER


class BenchSettings(Section):
    """How much `vovnet bench` measures."""

    num_samples: Questions = Field(64, description="Questions of each evaluation set.")
    repeats: int = Field(5, gt=0)
    """How often everything is measured; medians are reported."""
    growth: list[Annotated[int, unit("samples")]] = Field([500, 1000, 2000, 4000], min_length=2)
    """Numbers of samples over which cost is followed; questions are repeated."""
    num_threads: int = Field(1, gt=0, description="Threads of torch on the CPU.")


class SplitSize(Section):
    """How large a split is. Circular replicas are samples of one question."""

    samples: Samples = Field(description="Rows of the split, replicas counted.")
    questions: Questions | None = Field(None, description="As many as samples if left out.")


class PlanSettings(Section):
    """What `vovnet plan` estimates run times with; no result depends on it."""

    throughput: PathText | None = None
    """A file of `vovnet bench_gpu`; the measurement that the package brings if left out."""
    price_per_gpu_hour: float | None = Field(None, ge=0, description="In any currency.")
    sizes: dict[str, dict[str, SplitSize]] = Field({})
    """Dataset -> split -> its size, of splits that are not prepared yet."""
    image_size: tuple[Pixels, Pixels] = (1024, 768)
    """Mean width and height of images that are not prepared yet."""
    prompt_tokens: Tokens = Field(
        45, description="Mean length of a question that is not prepared yet."
    )
    training_answer_tokens: Tokens = Field(
        16, description="Mean length of a training answer that is not prepared yet."
    )
    answer_tokens: Tokens = Field(6, description="Mean length of a generated answer.")
    characters_per_token: float = Field(4.0, gt=0)
    """Characters of a token in prepared questions and answers."""
    start_s: Seconds = Field(60.0, description="Time until a job with GPUs has loaded its model.")
    prepare_per_s: Annotated[float, unit("samples/s")] = Field(200.0, gt=0)
    """How fast a split's job prepares samples."""
    light_s: Seconds = Field(120.0, description="Time of any other job that runs no model.")


class ReportSettings(Section):
    """What reports show."""

    title: str = Field("VoVNet", description="Title of the document and of the page.")
    target_lambda: Annotated[float, unit("as lambda_cost")] = Field(0.02, ge=0)
    """The `lambda_cost` whose row of a sweep main tables show."""
    target: str | None = None
    """The list under targets that paper_tables shows; everything if left out."""
    further: list[str] = Field([])
    """Lists under targets with a report of their own, in a folder of their name; each is a target
    that makes it."""
    name: str = PAPER
    """Which report is written, and into which folder; set by the DAG."""


class Resources(Section):
    """What the scheduler is told, per kind of rule. `gpu` counts devices; 0 runs on the CPU."""

    gpu: Annotated[int, unit("devices")] = Field(0, ge=0)
    """GPUs of each job; 0 runs on the CPU."""
    threads: Annotated[int, unit("cores")] = Field(1, gt=0, description="CPU cores of each job.")
    mem_mb: Annotated[int, unit("MB")] = Field(3000, gt=0, description="Memory of each job.")
    runtime_min: Annotated[int, unit("min")] = Field(60, gt=0)
    """Time after which a cluster ends a job."""
    retry_factor: float = Field(2.0, ge=1)
    """mem_mb and runtime_min grow by it when a failed job is tried again."""
    gpu_model: GpuModel | None = Field(None, description="Slurm's name of the GPUs to be given.")
    partition: str | None = Field(None, description="Slurm's partition; its default if left out.")


class LightResources(Resources):
    """What the scheduler is told of jobs that run no model."""

    mem_mb: Annotated[int, unit("MB")] = Field(1500, gt=0, description="Memory of each job.")
    runtime_min: Annotated[int, unit("min")] = Field(10, gt=0)
    """Time after which a cluster ends a job."""


class ResourceSettings(Section):
    """What each kind of job asks for."""

    account: str | None = Field(None, description="Slurm's account that pays for the jobs.")
    train: Resources = Field(Resources(), description="Jobs that train.")
    observe: Resources = Field(Resources(), description="Jobs that run a model and train none.")
    light: LightResources = Field(LightResources())
    """All other jobs, which run no model. Each MB of a job's inputs adds 1 MB and 0.02 min."""
