import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.multipart import Part
from parley.presence.standard.rlmi import (
    Instance,
    Resource,
    Rlmi,
    build_list,
    build_rlmi,
    document_part,
    parse_list,
    parse_rlmi,
)
from tests.unit.presence.standard.made import full_texts, numbers, refused, texts, tuples_of

NS = b'<list xmlns="urn:ietf:params:xml:ns:rlmi" '
FULL = NS + (
    b'uri="sip:team@example.test" version="7" fullState="true" cid="l@x"><name xml:lang="en">Team</name>'
    b'<resource uri="sip:a@example.test"><name>Anna</name><instance id="i1" state="active" cid="a@x"/></resource>'
    b'<resource uri="sip:b@example.test"><instance id="i2" state="terminated" reason="rejected"/></resource>'
    b'<resource uri="sip:c@example.test"/></list>'
)
LIST = Rlmi(
    "sip:team@example.test",
    7,
    True,
    (
        Resource("sip:a@example.test", "Anna", (Instance("i1", "active", "a@x"),)),
        Resource("sip:b@example.test", "", (Instance("i2", "terminated", "", "rejected"),)),
        Resource("sip:c@example.test"),
    ),
    "Team",
    "l@x",
)
DOCUMENT = document_part("a@x", "application/pidf+xml", b"<presence/>")


def test_the_list_is_read_and_written() -> None:
    assert parse_rlmi(FULL) == LIST
    assert build_rlmi(LIST) == FULL.replace(b' xml:lang="en"', b"")


@pytest.mark.parametrize(
    ("blank_line", "between"), [(False, b"\r\n"), (True, b"\r\n\r\n")]
)  # fmt: skip
def test_the_body_is_exact(blank_line: bool, between: bytes) -> None:
    content_type, body = build_list(Rlmi("sip:l@b", 0, False), (DOCUMENT,), "b1", "r@x", blank_line=blank_line)
    assert content_type == 'multipart/related;type="application/rlmi+xml";start="<r@x>";boundary=b1'
    assert body == (
        b"--b1\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <r@x>\r\n"
        b'Content-Type: application/rlmi+xml;charset="UTF-8"\r\n\r\n' + NS + b'uri="sip:l@b" version="0" fullState="false"/>'
        + between + b"--b1\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <a@x>\r\n"
        b"Content-Type: application/pidf+xml\r\n\r\n<presence/>" + between + b"--b1--\r\n"
    )  # fmt: skip


def test_four_bytes_before_a_boundary_may_be_lost() -> None:
    _, body = build_list(LIST, (DOCUMENT,), "b1", "r@x", blank_line=True)
    for piece in body.split(b"--b1")[1:-1]:
        assert piece[:-4].endswith(b">")


def test_the_list_is_found_by_its_name() -> None:
    content_type, body = build_list(LIST, (DOCUMENT,), "b:1", "r@x")
    assert content_type.endswith(';boundary="b:1"')
    head, first, second, tail = body.split(b"--b:1")
    turned = b"--b:1".join((head, second, first, tail))
    assert parse_list(content_type, body) == parse_list(content_type, turned) == (LIST, (DOCUMENT,))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FULL[:-2], "not well-formed"),
        (b"<list/>", "the root is not list of urn:ietf:params:xml:ns:rlmi"),
        (NS + b'version="1" fullState="true"/>', "no uri"),
        (NS + b'uri="sip:l@b" fullState="true"/>', "no version that is a number"),
        (NS + b'uri="sip:l@b" version="1"/>', "fullState is neither true nor false"),
        (NS + b'uri="l" version="1" fullState="0"><resource/></list>', "a resource without a uri"),
        (NS + b'uri="l" version="1" fullState="0"><resource uri="a"><instance/></resource></list>',
         "an instance without an id"),
        (NS + b'uri="l" version="1" fullState="0"><resource uri="a"><instance id="1"/></resource></list>',
         "an instance of no known state"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_rlmi, data) == f"resource list: {text}"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", b"", "resource list: the body is not multipart/related"),
        ("multipart/related;boundary=b", b"--b--", "resource list: no parts"),
        ("multipart/related;boundary=b", b"--b\r\nContent-Type: a/b\r\n\r\n--b--",
         "resource list: the first part is not application/rlmi+xml"),
        ("multipart/related;boundary=b", b"--b\r\n", "multipart body: the last boundary is missing"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(content_type: str, body: bytes, text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_list(content_type, body)
    assert str(caught.value) == text


def test_a_bad_content_id_is_not_written() -> None:
    with pytest.raises(DocumentError, match=r"^resource list: a Content-ID that cannot be written$"):
        build_list(LIST, (), "b", 'x"@y')


states = st.sampled_from(("pending", "active", "terminated"))
resources = st.builds(
    Resource, full_texts, texts, tuples_of(st.builds(Instance, full_texts, states, texts, texts), 2)
)  # fmt: skip
lists = st.builds(Rlmi, full_texts, numbers, st.booleans(), tuples_of(resources), texts, texts)
parts = tuples_of(st.builds(document_part, st.just("d@x"), st.just("a/b"), st.binary(max_size=20)))


@given(lists, parts, st.sampled_from(("bound-1", "b o:u")))
def test_what_is_written_is_read_again(rlmi: Rlmi, parts: tuple[Part, ...], boundary: str) -> None:
    content_type, body = build_list(rlmi, parts, f"{boundary}-a-long-one", "r@x")
    assert parse_list(content_type, body) == (rlmi, parts)
