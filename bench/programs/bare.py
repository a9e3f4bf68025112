"""The other end of a bare ZeroMQ link, for the bench. It shows the cost of the sockets alone.

    python bare.py echo     answers each message with that message
    python bare.py sink     answers each message with an empty one

Prints the address it listens at, a Unix socket in a folder of its own, as its only line. It ends with its standard
input, and then removes the folder.
"""

import os
import shutil
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


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("echo", "sink"):
        sys.exit(__doc__)
    answer(listen(zmq.ROUTER), sys.argv[1] == "echo")


if __name__ == "__main__":
    main()
