"""Evaluation: one file per family of metrics, a pure core on arrays and a thin sampler."""
