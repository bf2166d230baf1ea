"""Whole-pipeline peers, timed beside rfkernels in the same run where they are installed (the environment of `make
parity`).

Every module has `available() -> bool` and `make_runner(weights, threads, ...) -> Callable[[image], object]`; an image
is uint8 BGR [height, width, 3] in memory, what comes back is the peer's own result for it, complete: nothing is left to
a later, lazy step.
"""
