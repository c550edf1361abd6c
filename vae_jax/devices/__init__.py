"""Where programs run: which devices there are, what lies on them, how data reaches them."""

__all__ = []
