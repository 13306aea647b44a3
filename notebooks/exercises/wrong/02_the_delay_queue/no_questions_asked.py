# cell: stash
# message: expected a RuntimeError, got an answer
# reveals: A message is believed to be the one that was expected; mixed-up batches would train on silently.
class Stash:
    def __init__(self):
        self.waiting = []

    def put(self, batch, params, cache):
        self.waiting.append((params, cache))

    def take(self, batch):
        return self.waiting.pop(0)

    def __len__(self):
        return len(self.waiting)
