"""Annotations of labelling tools, brought into the form that PaddleSeg reads: one small file a format."""
