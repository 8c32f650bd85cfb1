import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.message_summary import (
    MAX_BYTES,
    Counts,
    MessageSummary,
    build_message_summary,
    parse_message_summary,
)
from tests.unit.presence.standard.made import numbers, refused

FULL = (
    b"Messages-Waiting: yes\r\nMessage-Account: sip:anna@vmail.example.test\r\nVoice-Message: 4/8 (1/2)\r\n"
    b"fax-message : 1 / 0\r\nX-Other: 5\r\n\r\nTo: anna@example.test\r\nPriority: urgent\r\n"
)


def test_all_of_it_is_read() -> None:
    expected = MessageSummary(
        True, "sip:anna@vmail.example.test", (Counts("voice-message", 4, 8, (1, 2)), Counts("fax-message", 1, 0))
    )
    assert parse_message_summary(FULL) == expected
    assert parse_message_summary(FULL.replace(b"\r\n", b"\n")) == expected
    assert parse_message_summary(b"messages-waiting:NO") == MessageSummary(False)


def test_it_is_written() -> None:
    summary = MessageSummary(True, "sip:vm@b\r\nX: y", (Counts("voice-message", 2, 0, (0, 0)), Counts("none", 0, 0)))
    assert build_message_summary(summary) == (
        b"Messages-Waiting: yes\r\nMessage-Account: sip:vm@bX: y\r\nVoice-Message: 2/0 (0/0)\r\nNone: 0/0\r\n"
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "Messages-Waiting is neither yes nor no"),
        (b"Messages-Waiting: perhaps\r\n", "Messages-Waiting is neither yes nor no"),
        (FULL[:10], "a line without a colon"),
        (b"Messages-Waiting: yes\r\nVoice-Message: 4", "counts that are not new/old"),
        (b"Messages-Waiting: yes\r\nVoice-Message: 4/8 (1", "counts that are not new/old"),
        (b"Messages-Waiting: yes\r\nVoice-Message: 4/4294967296", "counts that are not new/old"),
        (b"Messages-Waiting: \xff", "not UTF-8"),
        (b"Messages-Waiting: yes" + b" " * MAX_BYTES, "the document is too large"),
    ],
)
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_message_summary, data) == f"message summary: {text}"


def test_a_kind_that_is_none_is_not_written() -> None:
    with pytest.raises(DocumentError, match=r"^message summary: a kind of messages that is none$"):
        build_message_summary(MessageSummary(True, "", (Counts("voice-message: 1/1\r\nx", 1, 1),)))


kinds = st.sampled_from(("voice-message", "fax-message", "none", "x-2-message"))
counts = st.builds(Counts, kinds, numbers, numbers, st.none() | st.tuples(numbers, numbers))
accounts = st.sampled_from(("", "sip:vm@example.test", "sip:ü@example.test;a=b"))


@given(st.builds(MessageSummary, st.booleans(), accounts, st.lists(counts, max_size=3).map(tuple)))
def test_what_is_written_is_read_again(summary: MessageSummary) -> None:
    assert parse_message_summary(build_message_summary(summary)) == summary
