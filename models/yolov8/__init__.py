"""YOLOv8: layer table, recognition of checkpoints by their keys, and the graph."""
