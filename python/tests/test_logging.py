"""Log records: the control thread carries them away; a forked child's take another way."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import pytest
from torchwire_worker.control import LogHandler


class Taken:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def record(self, record: dict[str, Any]) -> None:
        self.records.append(record)


def logger_for(taken: Any) -> logging.Logger:
    logger = logging.Logger("of.this.test")
    logger.addHandler(LogHandler(taken))
    return logger


def test_a_record_is_handed_to_the_control_thread() -> None:
    taken = Taken()
    logger_for(taken).warning("%d of %s", 3, "five")
    assert taken.records == [{"level": 30, "logger": "of.this.test", "message": "3 of five"}]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_writes_its_records_to_stderr_as_the_sockets_are_not_its_to_use() -> None:
    taken = Taken()
    logger = logger_for(taken)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 2)
        sys.stderr = os.fdopen(2, "w")
        logger.warning("from a %s", "child")
        sys.stderr.flush()
        os._exit(len(taken.records))
    os.close(writer)
    with os.fdopen(reader) as stderr:
        assert stderr.read() == "from a child\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert taken.records == []


def test_a_handler_that_fails_does_not_fail_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def record(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no socket")

    logger_for(Broken()).warning("hi")
    assert "RuntimeError: no socket" in capsys.readouterr().err
