"""What runs leave on a disk: files, locks, run directories, checkpoints, exported models."""

__all__ = []
