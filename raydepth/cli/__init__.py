"""The command line, which turns arguments into library calls."""
