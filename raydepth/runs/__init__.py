"""Render data sets: plan, worker processes, clusters, verification."""
