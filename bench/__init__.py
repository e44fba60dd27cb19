"""Benchmarks: each a command that measures peers beside this project, in one run."""
