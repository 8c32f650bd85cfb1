import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.dialog_info import Dialog, DialogInfo, Party, build_dialog_info, parse_dialog_info
from tests.unit.presence.standard.made import full_texts, maybe_numbers, numbers, refused, texts, tuples_of

NS = b'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" '
FULL = NS + (
    b'version="2" state="partial" entity="sip:anna@example.test"><dialog id="d1" call-id="c1" local-tag="l" remote-tag="r"'
    b' direction="Initiator"><state event="rejected" code="486">Terminated</state><duration>12</duration>'
    b'<replaces call-id="x" local-tag="y" remote-tag="z"/>'
    b'<local><target uri="sip:anna@192.0.2.1"><param pname="+sip.rendering" pval="no"/><param/></target></local>'
    b'<remote><identity display="Ben">sip:ben@example.test</identity></remote></dialog>'
    b'<dialog id="d2" direction="sideways"><state>early</state></dialog></dialog-info>'
)
HEAD = NS + b'version="0" state="full" entity="sip:a@b">'


def test_all_of_it_is_read() -> None:
    assert parse_dialog_info(FULL) == DialogInfo(
        "sip:anna@example.test",
        2,
        "partial",
        (
            Dialog(
                id="d1",
                state="terminated",
                call_id="c1",
                local_tag="l",
                remote_tag="r",
                direction="initiator",
                ended="rejected",
                code=486,
                duration=12,
                local=Party(target="sip:anna@192.0.2.1", params=(("+sip.rendering", "no"),)),
                remote=Party("sip:ben@example.test", "Ben"),
            ),
            Dialog("d2", "early"),
        ),
    )


def test_it_is_written() -> None:
    dialog = Dialog("1", "confirmed", "c", "l", "r", "recipient", remote=Party("sip:c@d", "C", "sip:c@192.0.2.1"))
    assert build_dialog_info(DialogInfo("sip:a@b", 0, "full", (dialog,))) == HEAD + (
        b'<dialog id="1" call-id="c" local-tag="l" remote-tag="r" direction="recipient"><state>confirmed</state>'
        b'<remote><identity display="C">sip:c@d</identity><target uri="sip:c@192.0.2.1"/></remote></dialog></dialog-info>'
    )
    assert build_dialog_info(DialogInfo("sip:a@b", 0)) == HEAD[:-1] + b"/>"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FULL[:200], "not well-formed"),
        (b"<dialog-info/>", "the root is not dialog-info of urn:ietf:params:xml:ns:dialog-info"),
        (NS + b'entity="sip:a@b" state="full"/>', "no version that is a number"),
        (NS + b'version="1" state="full"/>', "no entity"),
        (NS + b'version="1" entity="sip:a@b"/>', "the state is neither full nor partial"),
        (HEAD + b"<dialog><state>early</state></dialog></dialog-info>", "a dialog without an id"),
        (HEAD + b'<dialog id="1"/></dialog-info>', "a dialog of no known state"),
        (HEAD + b'<dialog id="1"><state>ringing</state></dialog></dialog-info>', "a dialog of no known state"),
    ],
)
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_dialog_info, data) == f"dialog information: {text}"


parties = st.none() | st.builds(Party, texts, texts, texts, tuples_of(st.tuples(full_texts, texts), 2))
dialogs = st.builds(
    Dialog,
    id=full_texts,
    state=st.sampled_from(("trying", "proceeding", "early", "confirmed", "terminated")),
    call_id=texts,
    local_tag=texts,
    remote_tag=texts,
    direction=st.sampled_from((None, "initiator", "recipient")),
    ended=st.sampled_from((None, "cancelled", "local-bye", "timeout")),
    code=maybe_numbers,
    duration=maybe_numbers,
    local=parties,
    remote=parties,
)


@given(st.builds(DialogInfo, full_texts, numbers, st.sampled_from(("full", "partial")), tuples_of(dialogs)))
def test_what_is_written_is_read_again(info: DialogInfo) -> None:
    assert parse_dialog_info(build_dialog_info(info)) == info
