"""Flower's grid, the way messages take to sites and back, with something between: bytes counted,
failures noted."""

from flwr.serverapp import Grid

from . import weights


class Between(Grid):
    """A grid that hands everything to another; `lost` says why its last messages have no answers,
    where it knows."""

    lost = ""

    def __init__(self, grid):
        self.grid = grid

    def set_run(self, run):
        self.grid.set_run(run)

    @property
    def run(self):
        return self.grid.run

    def create_message(self, *arguments, **options):
        return self.grid.create_message(*arguments, **options)

    def get_node_ids(self):
        return self.grid.get_node_ids()

    def push_messages(self, messages):
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids):
        return self.grid.pull_messages(message_ids)

    def send_and_receive(self, messages, *, timeout=None):
        return self.grid.send_and_receive(messages, timeout=timeout)


class Counting(Between):
    """Counts the bytes of messages' contents, as Flower serializes them, by node and direction;
    notes what failed."""

    def __init__(self, grid):
        super().__init__(grid)
        self.counted, self.failures = {}, []

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        if not messages:
            return []
        for message in messages:
            self.count(message.metadata.dst_node_id, "down", message)
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        for reply in replies:
            if reply.has_error():
                self.failures.append(f"node {reply.metadata.src_node_id}: {reply.error.reason}")
            else:
                self.count(reply.metadata.src_node_id, "up", reply)
        return replies

    def count(self, node, direction, message):
        bytes_ = self.counted.setdefault(node, {"down": 0, "up": 0})
        bytes_[direction] += weights.size(message.content)

    def take(self):
        """What was counted and what failed since the last call."""
        taken = self.counted, self.failures
        self.counted, self.failures = {}, []
        return taken
