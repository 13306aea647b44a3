# cell: counterexample
# message: return a case only if its own excess, with that share, is positive
# reveals: A case is believed to be a counterexample because it looks extreme; nobody measured it.
def counterexample(K, share):
    return Case("logcosh", K, 2, 5, "constant", 4.0, 10.0, 0)
