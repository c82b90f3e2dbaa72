"""A line between a host and a board that drops, flips and repeats bytes, for tools/firmware."""

import random
import socket
import threading


class NoisyLine:
    """Joins a board's socket with one host after another, on a port of its own.

    One byte in `every`, in either direction, is dropped, flipped or repeated.
    """

    def __init__(self, board, every):
        self.board, self.every, self.spoilt = board, every, 0
        self.random = random.Random(1)
        self.host = None
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        for work in [self.hosts, self.from_board]:
            threading.Thread(target=work, daemon=True).start()

    def carry(self, data):
        """The bytes as they arrive."""
        arrived = bytearray()
        for byte in data:
            if self.random.randrange(self.every):
                arrived.append(byte)
                continue
            self.spoilt += 1
            arrived += random_change(self.random, byte)
        return bytes(arrived)

    def hosts(self):
        """What a host sends goes to the board; a host that is gone makes room for the next."""
        while True:
            host, _ = self.door.accept()
            self.host = host
            try:
                while data := host.recv(4096):
                    self.board.sendall(self.carry(data))
            except OSError:
                pass
            self.host = None
            host.close()

    def from_board(self):
        """What the board sends goes to the host, where there is one."""
        while data := self.board.recv(4096):
            host = self.host
            try:
                if host:
                    host.sendall(self.carry(data))
            except OSError:
                pass


def random_change(chance, byte):
    """A byte dropped, flipped or repeated."""
    match chance.randrange(3):
        case 0:
            return b""
        case 1:
            return bytes([byte ^ 1 << chance.randrange(8)])
        case _:
            return bytes([byte, byte])
