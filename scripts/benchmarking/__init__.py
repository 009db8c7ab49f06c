"""The parts of scripts/benchmark.py: what it measures, the processes that run it, what the seconds say, pictures.

Imports measuring/, the other scripts inside functions. An entry's process imports only what its side needs.
"""
