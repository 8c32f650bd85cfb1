import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.watcherinfo import Watcher, WatcherInfo, WatcherList, build_watcherinfo, parse_watcherinfo
from tests.unit.presence.standard.made import full_texts, maybe_numbers, numbers, refused, texts, tuples_of

NS = b'<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" '
FULL = NS + (
    b'version="3" state="partial"><watcher-list resource="sip:anna@example.test" package="presence">'
    b'<watcher id="7" status="active" event="approved" display-name="Ben" duration-subscribed="60" expiration="x">'
    b'sip:ben@example.test</watcher><watcher status="pending" id="8" event="subscribe">sip:c@example.test</watcher>'
    b"</watcher-list></watcherinfo>"
)
LIST = b'version="0" state="full"><watcher-list resource="sip:a@b" package="presence">'


def test_all_of_it_is_read() -> None:
    assert parse_watcherinfo(FULL) == WatcherInfo(
        3,
        "partial",
        (
            WatcherList(
                "sip:anna@example.test",
                "presence",
                (
                    Watcher("7", "sip:ben@example.test", "active", "approved", "Ben", None, 60),
                    Watcher("8", "sip:c@example.test", "pending", "subscribe"),
                ),
            ),
        ),
    )


def test_it_is_written() -> None:
    info = WatcherInfo(0, "full", (WatcherList("sip:a@b", "presence", (Watcher("1", "sip:c@d", "waiting", "giveup"),)),))
    assert build_watcherinfo(info) == NS + LIST + (
        b'<watcher id="1" status="waiting" event="giveup">sip:c@d</watcher></watcher-list></watcherinfo>'
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FULL[:-3], "not well-formed"),
        (b'<watcherinfo version="0" state="full"/>', "the root is not watcherinfo of urn:ietf:params:xml:ns:watcherinfo"),
        (NS + b'state="full"/>', "no version that is a number"),
        (NS + b'state="full" version="-1"/>', "no version that is a number"),
        (NS + b'state="some" version="1"/>', "the state is neither full nor partial"),
        (NS + b'state="full" version="1"><watcher-list resource="sip:a@b"/></watcherinfo>',
         "a list without a resource or package"),
        (NS + LIST + b'<watcher status="active" event="approved"/></watcher-list></watcherinfo>', "a watcher without an id"),
        (NS + LIST + b'<watcher id="1" status="on" event="approved"/></watcher-list></watcherinfo>',
         "a watcher of no known status"),
        (NS + LIST + b'<watcher id="1" status="active"/></watcher-list></watcherinfo>', "a watcher with no known event"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_watcherinfo, data) == f"watcher information: {text}"


watchers = st.builds(
    Watcher,
    id=full_texts,
    uri=texts,
    status=st.sampled_from(("pending", "active", "waiting", "terminated")),
    event=st.sampled_from(("subscribe", "deactivated", "probation", "rejected", "timeout", "noresource")),
    display_name=texts,
    expiration=maybe_numbers,
    duration=maybe_numbers,
)
infos = st.builds(
    WatcherInfo,
    numbers,
    st.sampled_from(("full", "partial")),
    tuples_of(st.builds(WatcherList, full_texts, full_texts, tuples_of(watchers))),
)


@given(infos)
def test_what_is_written_is_read_again(info: WatcherInfo) -> None:
    assert parse_watcherinfo(build_watcherinfo(info)) == info
