"""From a function that runs a network to logits and labels of whole images: augmentation, sliding window, sizes.

Imports NumPy and OpenCV only: deploy/ and paddleseg/ both build on it.
"""
