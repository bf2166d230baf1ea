"""Model families: one folder each with its layer table and the graph it emits."""
