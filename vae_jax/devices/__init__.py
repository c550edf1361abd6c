"""Devices: which ones there are, how arrays are placed on them, how data reaches them."""

__all__ = []
