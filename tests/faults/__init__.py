"""Every fault that a run is to survive, tried on the real program: `python -m tests.faults`."""
