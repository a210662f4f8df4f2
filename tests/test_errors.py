"""A message is one line, whatever is put into it."""

import pickle

from wst.errors import InputError


def test_a_message_is_one_line_that_can_be_shown() -> None:
    assert str(InputError("a: expected b; found c")) == "a: expected b; found c"
    assert str(InputError("a\x1b[31m\nb\u202e\udcff")) == r"a\x1b[31m\nb\u202e\xff"


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    line = str(InputError(f"file: {'x' * 10_000}; found y"))
    assert len(line) == 1_000 and line.startswith("file: xxx") and line.endswith("xxx; found y")


def test_it_travels_between_processes_as_it_is() -> None:
    error = InputError("x\n" * 3_000)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
