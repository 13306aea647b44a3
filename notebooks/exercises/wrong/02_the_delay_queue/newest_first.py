# cell: stash
# message: taken for batch 0: expected
# reveals: A stack in place of a queue: the newest batch is paired with the oldest error gradient.
class Stash:
    def __init__(self):
        self.waiting = []

    def put(self, batch, params, cache):
        self.waiting.append((params, cache))

    def take(self, batch):
        return self.waiting.pop()

    def __len__(self):
        return len(self.waiting)
