"""Model families: vision-language models behind one interface, one module each.

A family is named by `model.family`, which must be the `model_type` of the model's own
config.json. To add one, write a module whose `MODEL` is a subclass of
`vovnet.model.vlm.VisionLanguageModel`, its entry here, and one in `vovnet.model.architectures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vovnet.core.errors import ConfigError
from vovnet.core.registry import load_entry

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel

FAMILIES = {
    "qwen2_5_vl": "vovnet.model.qwen2_5_vl",
    "qwen3_vl": "vovnet.model.qwen3_vl",
}


def family_class(name: str) -> type[VisionLanguageModel]:
    """The class of a family by its entry in `FAMILIES`."""
    check_family(name)
    family: type[VisionLanguageModel] = load_entry(__name__, FAMILIES[name], "MODEL")
    return family


def check_family(name: str) -> None:
    """Refuse a name that is not in the table."""
    if name not in FAMILIES:
        raise ConfigError(f"model.family: expected one of {sorted(FAMILIES)}, got {name!r}")
