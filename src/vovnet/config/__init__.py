"""One schema for every setting: defaults, validation, layering and the resolved dump.

Keys are those of the experiments' specification (`policy.baseline_name`, `policy.lambda_cost`,
`vision_budget.*`, `eval.*`, `training.*` ...). Unknown keys are errors that name file and key.
Layers are merged left to right: mappings key by key, everything else replaced.
"""

from vovnet.config.data import (
    Columns,
    DatasetSettings,
    DataSettings,
    EvalSet,
    Parse,
    PromptTemplates,
    SplitRef,
    mmbench_part,
)
from vovnet.config.imports import COUNT_LIMIT, ImportedSet, LogColumns, LoggedView
from vovnet.config.kinds import Extended, Section, ViewName
from vovnet.config.layers import merge, read_layers, read_yaml, set_layers, yaml_text
from vovnet.config.schema import ModelSettings, PolicySettings, PretrainingPhase, VisionBudget
from vovnet.config.settings import (
    BASE_SEED,
    Settings,
    check_prompt_order,
    check_trained_weights,
    first_error,
    imported_sets,
    is_base,
    is_imported,
    last_stage,
    load,
    policy_points,
    run_kind,
    run_settings,
    source_of,
    validate,
)
from vovnet.config.stanzas import NEAR, Match
