"""Checkpoints in, portable model files out. Needs neither torch nor an engine, and onnx only to handle a graph."""

from rfkernels.builder.build import BuildOptions, BuildReport, build
from rfkernels.builder.checkpoint import Checkpoint
from rfkernels.builder.read import DecodedGraph, read_checkpoint

__all__ = ["BuildOptions", "BuildReport", "Checkpoint", "DecodedGraph", "build", "read_checkpoint"]
