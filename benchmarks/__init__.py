"""Side-by-side measurements: the program and the least program that does the same, in turn, in one run."""
