# cell: diagnose
# message: two batches must be in flight when weights move
# reveals: The suspect is recognised by its class, as no bug of one's own ever is.
def diagnose(module, xs, dys, gamma=0.5):
    return {
        "PresentWeights": "present weights",
        "OverwrittenStash": "overwritten stash",
        "WrongBatch": "wrong batch",
        "OldGradientAgain": "old gradient again",
    }.get(type(module).__name__, "healthy")
