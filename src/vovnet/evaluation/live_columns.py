"""Columns of live.parquet, apart from those of results, so that these run no model again."""

import pyarrow as pa

PARTS = (
    "text_pass",
    "decision",
    "image_loading",
    "preprocessing",
    "vision_encoding",
    "prefill",
    "generation",
)
"""In the order in which a sample goes through them; a part that it does not need takes 0."""

LIVE_COLUMNS: dict[str, pa.DataType] = {
    "dataset": pa.string(),
    "seed": pa.int64(),
    "point": pa.int64(),  # index of the sweep point within its experiment
    "cache_reuse": pa.bool_(),  # whether views went on from the text pass's cache
    "id": pa.string(),
    "action": pa.int64(),  # index into the suite's actions; -1 for a view that is no action
    "view": pa.string(),  # from which the question is answered
    "executed": pa.string(),  # every view that was executed, in order, as in "coarse>full"
    "fallback_triggered": pa.bool_(),
    "text": pa.string(),
    "token_ids": pa.list_(pa.int64()),  # of the answer
    "vision_tokens": pa.int64(),  # of all executed views, as are the following counts and times
    "flops": pa.float64(),  # with the text pass; empty where they were not counted
    "generated_tokens": pa.int64(),
    **{f"{part}_ms": pa.float64() for part in PARTS},
    "memory_mb": pa.float64(),  # peak; empty where the device tells none
}
"""Columns of live.parquet: name -> type."""
