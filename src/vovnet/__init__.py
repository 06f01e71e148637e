"""VoVNet: how much looking is worth, from raw datasets to the paper's tables.

`vovnet.VoVNet` is a trained model to be used. Nothing heavy is imported before it is asked for.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["VoVNet", "__version__"]

if TYPE_CHECKING:
    from vovnet.inference.pretrained import PretrainedVoVNet as VoVNet


def __getattr__(name: str) -> Any:
    if name == "VoVNet":
        from importlib import import_module

        return import_module("vovnet.inference.pretrained").PretrainedVoVNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
