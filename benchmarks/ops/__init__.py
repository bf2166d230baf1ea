"""One module for each op, named as the op is; `rows()` measures it and returns `rfkernels.benchmarks.harness.Row`s."""
