"""All that knows PaddleSeg: fixes for Paddle 3, registration, profiler, datasets, checkpoints.

Imports models/, data/ and evaluation/. Only this folder and cli/ import paddleseg.
"""
