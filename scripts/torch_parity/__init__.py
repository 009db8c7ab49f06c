"""Our networks against the torch references: what compare_torch.py, make_goldens.py and the tests share.

Imports paddle_pointrend; torch, mmseg and detectron2 inside functions only.
"""
