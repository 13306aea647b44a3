"""A run from options to results: configuration, training, checkpoints, the run directory, comparisons, figures."""
