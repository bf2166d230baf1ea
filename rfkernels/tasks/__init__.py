"""Tasks: one file each, where a request becomes a response."""
