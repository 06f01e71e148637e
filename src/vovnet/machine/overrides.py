"""Environment variables by which libraries would override the settings, or change results.

Settings decide what is computed. Some libraries let a variable of the environment win over the
arguments that they are called with, or take another way of rounding from one. Such variables are
dropped before any of these libraries is loaded, so that they change nothing. `accelerate launch`
sets some of them as well, for arguments that training passes on by itself.
"""

from collections.abc import MutableMapping

OVERRIDING = (
    # accelerate: precision, accumulation, sharding, plug-ins, devices
    *("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "FP8_", "XLA_"),
    # torch: precision and choice of kernels, compilation, just-in-time fusion, loading of pickles
    *("TORCH_", "TORCHDYNAMO_", "TORCHINDUCTOR_", "AOT_INDUCTOR_", "INDUCTOR_", "PYTORCH_"),
    *("NVIDIA_TF32_OVERRIDE", "ATEN_CPU_CAPABILITY", "TRITON_INTERPRET", "USE_TORCH_XLA"),
    # libraries of matrix products on the CPU
    *("ONEDNN_", "DNNL_", "MKLDNN_", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DISABLE_FAST_MM"),
    *("OPENBLAS_CORETYPE", "NPY_"),
    # transformers: kernels of the hub, ways of attention
    *("TRANSFORMERS_", "USE_HUB_KERNELS", "DISABLE_KERNEL_MAPPING"),
    # pandas: types of columns; matplotlib: a way of drawing that is not here
    *("PANDAS_", "MPLBACKEND", "MATPLOTLIBRC"),
)
"""What names of such variables start with."""

KEPT = (
    # where files are cached, and whether the network is asked
    *("TORCH_HOME", "TORCH_EXTENSIONS_DIR", "TORCHINDUCTOR_CACHE_DIR"),
    *("TRANSFORMERS_CACHE", "TRANSFORMERS_OFFLINE"),
    # memory, communication, compilers' processes: how fast, not what
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NVML_BASED_CUDA_CHECK"),
    *("PYTORCH_NO_CUDA_MEMORY_CACHING", "PYTORCH_KERNEL_CACHE_PATH", "TORCH_CUDA_ARCH_LIST"),
    *("TORCH_NCCL_", "TORCH_GLOO_", "TORCHINDUCTOR_COMPILE_THREADS"),
    # what is told
    *("TORCH_LOGS", "TORCH_TRACE", "TORCH_CPP_LOG_LEVEL", "TORCH_DISTRIBUTED_DEBUG", "TORCH_FR_"),
    *("TORCH_SHOW_CPP_STACKTRACES", "TRANSFORMERS_VERBOSITY"),
    "TRANSFORMERS_NO_ADVISORY_WARNINGS",
)
"""What names of those start with that stay, although they start like the others."""


LAUNCHED = "TORCHELASTIC_RUN_ID"
"""What torchrun, and `accelerate launch` by it, set in every process that they start."""

PLACING = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_"),
)
"""What names start with that tell a process its place among others.

Shells inside mpirun or srun and the pods of training operators have them too, for processes that
are not ours.
"""


def drop_overrides(environ: MutableMapping[str, str]) -> None:
    """Remove from the environment what would override settings or change results.

    So is a process's place among others where no launcher of this process has set it: the process
    would wait for others that never come.
    """
    dropped = OVERRIDING if LAUNCHED in environ else (*OVERRIDING, *PLACING)
    for name in list(environ):
        if name.startswith(dropped) and not name.startswith(KEPT):
            del environ[name]
