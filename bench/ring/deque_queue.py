"""collections.deque: unbounded, polled. An item is one array."""

import collections
import time


class Queue:
    name = "collections.deque"

    def __init__(self):
        self.queue = collections.deque()
        self.push = self.queue.append

    def pop(self):
        try:
            return [self.queue.popleft()]
        except IndexError:
            time.sleep(0)
            return []
