"""Parts of scripts/fuzz_inputs.py: what is mutated, how, and the process it is tried in."""
