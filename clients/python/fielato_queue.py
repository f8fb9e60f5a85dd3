#!/usr/bin/env python3
"""Judge packets that Fielato's engine puts into a queue (`-j NFQUEUE --queue-num N`).

    from fielato_queue import Queue, ACCEPT, DROP

    def judge(packet):
        return DROP if b"secret" in packet.data else ACCEPT

    with Queue("/run/fielato/queue.sock") as queue:
        queue.bind(7)
        queue.run(judge)

A judge returns a verdict, or a dict of `verdict`, `mark` (the packet's new mark), `data` (its new bytes) and `queue` (where
to, with the verdict QUEUE). The messages are described in the documentation of the crate fielato-netfilter, module
queue::protocol.
"""

import collections
import socket
import struct
import sys

DROP, ACCEPT, QUEUE, REPEAT = 0, 1, 3, 4
HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

_BIND, _BOUND, _ERROR, _PACKET, _VERDICT = 1, 2, 3, 4, 5
_MAX_MESSAGE = 66000
_HEAD = struct.Struct("!BBHIQI16s16s")
_SET_MARK, _SET_DATA = 1, 2

Packet = collections.namedtuple("Packet", "queue id hook mark length in_interface out_interface data")


class Refused(Exception):
    """The engine refused a message; the text says why."""


class Queue:
    """A connection to the engine."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """The queues close; what waits there is dropped."""
        self._socket.close()

    def bind(self, number, length=0, copy=0):
        """Asks for the packets of a queue: at most `length` wait (0: 1,024), `copy` bytes of each are sent (0: all)."""
        self._socket.send(struct.pack("!BBHII", _BIND, 0, number, length, copy))
        while True:
            message = self._receive()
            if message is None:
                raise Refused("the engine closed the connection")
            if message[0] == _BOUND:
                return

    def packets(self):
        """Packets, one after the other, until the engine is gone."""
        while (message := self._receive()) is not None:
            if message[0] == _PACKET:
                _, hook, queue, mark, number, length, way_in, way_out = _HEAD.unpack_from(message)
                names = (name.rstrip(b"\0").decode() for name in (way_in, way_out))
                yield Packet(queue, number, HOOKS[hook], mark, length, *names, message[_HEAD.size :])

    def verdict(self, packet, verdict, mark=None, data=None, queue=0):
        """Decides about a packet."""
        flags = (_SET_MARK if mark is not None else 0) | (_SET_DATA if data is not None else 0)
        head = struct.pack("!BBHIQBBH", _VERDICT, verdict, packet.queue, mark or 0, packet.id, flags, 0, queue)
        self._socket.send(head + (data or b""))

    def run(self, judge):
        """Lets `judge` decide about each packet until the engine is gone."""
        for packet in self.packets():
            answer = judge(packet)
            if isinstance(answer, dict):
                self.verdict(packet, **answer)
            else:
                self.verdict(packet, answer)

    def _receive(self):
        message = self._socket.recv(_MAX_MESSAGE)
        if not message:
            return None
        if message[0] == _ERROR:
            raise Refused(message[4:].decode())
        return message


def main():
    """Accepts and shows what comes: fielato_queue.py SOCKET QUEUE."""
    if len(sys.argv) != 3 or not sys.argv[2].isdigit():
        sys.exit("usage: fielato_queue.py SOCKET QUEUE")

    def judge(packet):
        ways = f"{packet.in_interface or '-'} {packet.out_interface or '-'}"
        print(f"{packet.hook} {ways} {packet.length} bytes, mark {packet.mark:#x}", flush=True)
        return ACCEPT

    try:
        with Queue(sys.argv[1]) as queue:
            queue.bind(int(sys.argv[2]))
            queue.run(judge)
    except (OSError, Refused) as error:
        sys.exit(f"fielato_queue.py: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
