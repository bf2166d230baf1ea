"""Benchmarks of rfkernels: `rfkernels bench` runs them. Each line states its floor and the peer of the same run."""
