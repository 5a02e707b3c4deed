"""Build the hierarchy: local frame, splits, subtrees, wide nodes, refit."""
