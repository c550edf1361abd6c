"""Files on disk: locks, run directories, checkpoints, exported models."""

__all__ = []
