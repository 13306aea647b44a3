# cell: stash
# message: got 1 of 1 alive. Hint: remove what is taken
# reveals: Batches are counted off, but never let go: memory grows with every iteration.
class Stash:
    def __init__(self):
        self.kept, self.taken = {}, 0

    def put(self, batch, params, cache):
        self.kept[batch] = params, cache

    def take(self, batch):
        if batch != self.taken:
            raise RuntimeError("mixed up")
        self.taken += 1
        return self.kept[batch]

    def __len__(self):
        return len(self.kept) - self.taken
