"""Threads, memory, files that are written atomically, locks, optional packages."""
