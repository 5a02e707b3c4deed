"""The command line: arguments to library calls."""
