"""Parts of scripts/ablations.py."""
