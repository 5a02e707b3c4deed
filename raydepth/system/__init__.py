"""Threads, memory, files that appear whole, locks, optional packages."""
