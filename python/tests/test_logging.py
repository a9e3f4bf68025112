"""Log records go to the client, beside everything that a plain program does with them. No logger gets a handler."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from torchwire_worker import records

Tell = Callable[[], "list[dict[str, Any]]"]


@pytest.fixture
def tell_client(monkeypatch: pytest.MonkeyPatch) -> Tell:
    def begin() -> list[dict[str, Any]]:
        taken: list[dict[str, Any]] = []
        for holder, name in ((logging.Logger, "callHandlers"), (logging, "basicConfig")):
            monkeypatch.setattr(holder, name, getattr(holder, name))
        # (pytest has put its own handlers there.)
        monkeypatch.setattr(logging.root, "handlers", [])
        records.tell_client(taken.append)
        return taken

    return begin


def logger() -> logging.Logger:
    return logging.getLogger("of.this.test")


def test_a_record_is_told_and_not_printed_as_well(tell_client: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tell_client()
    logger().warning("%d of %s", 3, "five")
    logging.warning("the module's own function")
    assert [record["message"] for record in taken] == ["3 of five", "the module's own function"]
    assert taken[:1] == [{"level": 30, "logger": "of.this.test", "message": "3 of five"}]
    assert capsys.readouterr().err == ""
    assert logging.root.handlers == []
    assert not logger().hasHandlers()


def test_a_traceback_is_told_with_it(tell_client: Tell) -> None:
    taken = tell_client()
    try:
        raise ValueError("broken")
    except ValueError:
        logger().exception("it failed")
    (record,) = taken
    assert record["message"].splitlines()[0] == "it failed"
    assert record["message"].splitlines()[-1] == "ValueError: broken"


def test_what_a_program_configures_holds_as_without_us(tell_client: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tell_client()
    logging.basicConfig(format="mine: %(message)s", stream=sys.stdout)
    logger().error("once")
    assert capsys.readouterr().out == "mine: once\n"
    assert [record["message"] for record in taken] == ["once"]


def test_a_logger_that_keeps_to_itself_tells_nobody(tell_client: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tell_client()
    alone = logging.getLogger("of.this.test.alone")
    alone.propagate = False
    alone.warning("to its own handlers alone")
    assert taken == []
    # Python prints it like this if there is no handler.
    assert capsys.readouterr().err == "to its own handlers alone\n"


def test_a_long_record_is_cut_and_says_so(tell_client: Tell) -> None:
    taken = tell_client()
    logger().warning("x" * 10**6)
    (record,) = taken
    assert record["message"] == "x" * records.LONGEST + "… (934,464 more characters)"


def test_arguments_that_do_not_fit_are_told_as_python_tells_them(
    tell_client: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tell_client()
    logger().warning("%d", "five")
    assert taken == []
    assert "--- Logging error ---" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_logs_as_a_program_without_us_as_the_sockets_are_not_its_to_use(tell_client: Tell) -> None:
    taken = tell_client()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 2)
        sys.stderr = os.fdopen(2, "w")
        logger().warning("from a %s", "child")
        sys.stderr.flush()
        os._exit(len(taken))
    os.close(writer)
    with os.fdopen(reader) as stderr:
        assert stderr.read() == "from a child\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert taken == []
