"""The other end of a bare ZeroMQ link, for the bench. It shows the cost of the sockets alone.

    python bare.py echo     answers each message with that message
    python bare.py sink     answers each message with an empty one
    python bare.py ring     the same, and copies the bytes that a message names out of the file of shared memory whose
                            path the first message is: an offset and a length, as two unsigned integers of 8 bytes

Prints the address it listens at, a Unix socket in a folder of its own, as its only line. It ends with its standard
input, and then removes the folder.
"""

import mmap
import os
import shutil
import struct
import sys
import tempfile
import threading

import zmq


def end_with_input(folder):
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def listen(kind):
    """A socket in a folder of its own, whose address has been printed."""
    folder = tempfile.mkdtemp(prefix="torchwire-bench-")
    threading.Thread(target=end_with_input, args=(folder,), daemon=True).start()
    socket = zmq.Context().socket(kind)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    address = f"ipc://{folder}/socket"
    socket.bind(address)
    print(address, flush=True)
    return socket


def answer(socket, echo):
    # Part by part: the calls for whole messages cost more than the parts together.
    while True:
        peer = socket.recv()
        message = socket.recv(copy=echo)
        socket.send(peer, zmq.SNDMORE)
        socket.send(message if echo else b"")


def answer_from_ring(socket):
    peer, path = socket.recv(), socket.recv()
    with open(path, "r+b") as file:
        ring = memoryview(mmap.mmap(file.fileno(), 0))
    while True:
        socket.send(peer, zmq.SNDMORE)
        socket.send(b"")
        peer = socket.recv()
        at, length = struct.unpack("<QQ", socket.recv())
        # A tensor that outlives its step must not change with the slot: the worker would copy it, too.
        bytearray(ring[at : at + length])


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("echo", "sink", "ring"):
        sys.exit(__doc__)
    socket = listen(zmq.ROUTER)
    if sys.argv[1] == "ring":
        answer_from_ring(socket)
    answer(socket, sys.argv[1] == "echo")


if __name__ == "__main__":
    main()
