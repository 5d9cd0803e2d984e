"""A cluster that is only calculated: a virtual clock that jumps, faults at will, the same result from the same seed."""
