"""Our networks against the torch references: what scripts/compare_torch.py and scripts/make_goldens.py share."""
