# cell: stash
# message: keep, with every batch, the weights that its own forward pass used
# reveals: The weights are kept once per module, not once per batch: the stale-weight bug itself.
class Stash:
    def __init__(self):
        self.waiting = []

    def put(self, batch, params, cache):
        self.params = params
        self.waiting.append((batch, cache))

    def take(self, batch):
        oldest, cache = self.waiting.pop(0)
        if oldest != batch:
            raise RuntimeError("mixed up")
        return self.params, cache

    def __len__(self):
        return len(self.waiting)
