# cell: stash
# message: expected old caches to be freed
# reveals: The weights are let go and the caches, which are larger, are not: nothing shows it but the memory.
class Stash:
    def __init__(self):
        self.params, self.caches, self.taken = {}, {}, 0

    def put(self, batch, params, cache):
        self.params[batch], self.caches[batch] = params, cache

    def take(self, batch):
        if batch != self.taken:
            raise RuntimeError("mixed up")
        self.taken += 1
        return self.params.pop(batch), self.caches[batch]

    def __len__(self):
        return len(self.params)
