"""A run from its settings to its result: data, program, training, numbers, pictures; no flags."""

__all__ = []
