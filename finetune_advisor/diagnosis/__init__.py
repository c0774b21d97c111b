"""From a run to what its curves and weights say: one function for each sign."""
