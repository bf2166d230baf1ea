"""One benchmark for each op, named as the op; each module's `rows(repeats=...)` measures it beside its peers."""

from collections.abc import Callable

from rfkernels.benchmarks.harness import format_row, rows_as_json


def run_all(*, repeats: int, as_json: bool, on_progress: Callable[[int, int], None] | None = None) -> str:
    """Every op's rows, one line each, or as JSON. `on_progress` is told how many ops of how many are done."""
    # Here and not above, so that each module can be run on its own with `python -m`.
    from rfkernels.benchmarks.ops import connected_components, detection, keypoints, masks, neighbourhoods, preprocess

    modules = (preprocess, detection, keypoints, masks, neighbourhoods, connected_components)
    rows = []
    for done, module in enumerate(modules):
        if on_progress is not None:
            on_progress(done, len(modules))
        rows += module.rows(repeats=repeats)
    return rows_as_json(rows) if as_json else "\n".join(format_row(row) for row in rows)
