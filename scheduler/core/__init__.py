"""The decisions: pure functions and frozen data, standard library only, time and randomness by argument."""
