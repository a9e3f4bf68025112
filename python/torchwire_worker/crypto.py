"""Measures how fast ZeroMQ encrypts here: libsodium decides that, and its builds differ tenfold."""

from __future__ import annotations

import time

import zmq

_FRAME = 4 * 2**20
_FRAMES = 12


def megabytes_per_second() -> float:
    """Send frames of 4 MiB over loopback, encrypted by one side and decrypted by the other, and take the time."""
    context = zmq.Context(io_threads=2)
    public, secret = zmq.curve_keypair()
    server, client = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    try:
        server.curve_server = True
        server.curve_secretkey = secret
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client.curve_serverkey = public
        client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
        client.connect(f"tcp://127.0.0.1:{port}")
        server.rcvtimeo = 10_000
        frame = bytes(_FRAME)
        # The first frame waits for the handshake.
        client.send(frame, copy=False)
        server.recv(copy=False)
        start = time.perf_counter()
        for _ in range(_FRAMES):
            client.send(frame, copy=False)
        for _ in range(_FRAMES):
            server.recv(copy=False)
        return _FRAMES * _FRAME / 1e6 / (time.perf_counter() - start)
    finally:
        context.destroy(linger=0)
