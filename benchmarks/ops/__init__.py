"""One benchmark for each op, named as the op; each module's `rows(repeats=...)` measures it beside its peers."""

from rfkernels.benchmarks.harness import format_row, rows_as_json


def run_all(*, repeats: int, as_json: bool) -> str:
    """Every op's rows, one line each, or as JSON."""
    # Here and not above, so that each module can be run on its own with `python -m`.
    from rfkernels.benchmarks.ops import detection, preprocess

    rows = [row for module in (preprocess, detection) for row in module.rows(repeats=repeats)]
    return rows_as_json(rows) if as_json else "\n".join(format_row(row) for row in rows)
