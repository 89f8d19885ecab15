"""queue.SimpleQueue: unbounded, blocking get. An item is one array."""

import queue


class Queue:
    name = "queue.SimpleQueue"

    def __init__(self):
        self.queue = queue.SimpleQueue()
        self.push = self.queue.put

    def pop(self):
        return [self.queue.get()]
