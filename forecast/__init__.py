"""Pure predictions: run times, completion times, use of a grant."""
