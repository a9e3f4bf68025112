"""The way in on the client's own machine. The order is the first line of standard input."""

import json
import sys

from torchwire_worker.environment.clean import clean
from torchwire_worker.environment.client import end_by_signals, end_with_client, outcome, say
from torchwire_worker.environment.setup import setup


def main() -> None:
    end_by_signals()
    order = json.loads(sys.stdin.buffer.readline().decode())
    end_with_client()
    say(**outcome(clean if "clean" in order else setup, order))
