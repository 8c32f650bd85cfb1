import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.pidf import ACTIVITIES, MAX_TUPLES, Pidf, Tuple, UserInput, build_pidf, parse_pidf
from parley.presence.standard.tree import clean
from parley.xml import XmlError
from tests.unit.presence.standard.made import full_texts, maybe_times, refused, texts

HEAD = b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:anna@example.test"'
PERSON = b' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">'

FULL = (
    HEAD
    + PERSON
    + b"""
  <tuple id="sg89ae"><status><basic>open</basic></status><dm:deviceID>mac:1</dm:deviceID>
    <contact priority="0.8">tel:+49301234</contact><note xml:lang="en">At my desk</note>
    <timestamp>2024-05-06T07:08:09.250+02:00</timestamp></tuple>
  <tuple id="b"><status><basic> CLOSED </basic></status></tuple>
  <note>One</note><note>Two</note>
  <dm:person id="p9"><rpid:activities from="2024-01-01T00:00:00Z"><rpid:note>Calling</rpid:note><rpid:on-the-phone/>
    <rpid:busy/><rpid:busy/><rpid:other>dnd</rpid:other></rpid:activities>
    <rpid:user-input idle-threshold="600" last-input="2024-05-06T05:00:00Z">idle</rpid:user-input>
    <dm:note>Back soon</dm:note><dm:timestamp>2024-05-06T05:08:09Z</dm:timestamp></dm:person>
</presence>"""
)


def test_all_of_it_is_read() -> None:
    assert parse_pidf(FULL) == Pidf(
        entity="sip:anna@example.test",
        tuples=(
            Tuple("sg89ae", "open", "tel:+49301234", 0.8, "At my desk", 1_714_972_089.25),
            Tuple("b", "closed"),
        ),
        person_activities=("on-the-phone", "busy", "other"),
        notes=("One", "Two"),
        other_activity="dnd",
        person_notes=("Back soon", "Calling"),
        user_input="idle",
        last_input=1_714_971_600.0,
        person_timestamp=1_714_972_089.0,
    )


def test_it_is_written_in_the_order_of_the_schema() -> None:
    pidf = Pidf("sip:a@b", (Tuple("t1", "open", "sip:a@192.0.2.1", 1.0, "n", 0.0),), ("busy",), ("note",))
    assert build_pidf(pidf) == (
        b'<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
        b'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:a@b"><tuple id="t1"><status><basic>open</basic></status>'
        b'<contact priority="1">sip:a@192.0.2.1</contact><note>n</note><timestamp>1970-01-01T00:00:00Z</timestamp></tuple>'
        b'<note>note</note><dm:person id="p1"><rpid:activities><rpid:busy/></rpid:activities></dm:person></presence>'
    )


@pytest.mark.parametrize(
    ("inside", "activities", "other"),
    [
        (b'<tuple id="a"><status><e:activities xmlns:e="urn:ietf:params:xml:ns:pidf:status:rpid-status"><e:activity>busy'
         b"</e:activity><e:activity>On-The-Phone</e:activity></e:activities></status></tuple>", ("busy", "on-the-phone"),
         ""),
        (b'<p:person xmlns:p="urn:ietf:params:xml:ns:pidf:person"><status><e:activities xmlns:e="urn:ietf:params:xml:ns:'
         b'pidf:rpid:rpid-person"><e:away/></e:activities></status></p:person>', ("away",), ""),
        (b'<tuple id="a"><status><basic>open</basic><im:im xmlns:im="urn:ietf:params:xml:ns:pidf:im">busy</im:im></status>'
         b"</tuple>", ("busy",), ""),
        (b'<tuple id="a"><status><im:im xmlns:im="urn:ietf:params:xml:ns:pidf:im">open</im:im></status></tuple>', (), ""),
        (b"<person><activities><do-not-disturb/></activities></person>", ("other",), "do-not-disturb"),
        (b"<person><activities><other/><gaming/></activities></person>", ("other",), "gaming"),
        (b'<device xmlns="urn:ietf:params:xml:ns:pidf:data-model"><activities><meeting/></activities></device>',
         ("meeting",), ""),
        (b'<tuple><activities xmlns=""><lunch/></activities></tuple>', ("lunch",), ""),
    ],
)  # fmt: skip
def test_activities_are_found_wherever_phones_put_them(inside: bytes, activities: tuple[str, ...], other: str) -> None:
    pidf = parse_pidf(HEAD + b">" + inside + b"</presence>")
    assert (pidf.person_activities, pidf.other_activity) == (activities, other)


def test_details_that_are_wrong_are_left_out() -> None:
    data = (
        b"><tuple><status><basic>maybe</basic></status><contact priority='2'/><timestamp>yesterday</timestamp></tuple>"
        b"<person><user-input>dozing</user-input></person></presence>"
    )
    assert parse_pidf(HEAD + data) == Pidf("sip:anna@example.test", (Tuple("t1"),))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "presence document: not well-formed"),
        (FULL[:-1], "presence document: not well-formed"),
        (FULL[:300], "presence document: not well-formed"),
        (b"<!DOCTYPE presence>" + FULL, "presence document: a document type is not taken"),
        (b'<presence entity="sip:a@b"/>', "presence document: the root is not presence of urn:ietf:params:xml:ns:pidf"),
        (b'<p xmlns="urn:ietf:params:xml:ns:pidf"/>',
         "presence document: the root is not presence of urn:ietf:params:xml:ns:pidf"),
        (b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity=" "/>', "presence document: no entity"),
        (HEAD + b">" + b"<tuple/>" * (MAX_TUPLES + 1) + b"</presence>", "presence document: too many tuples"),
        (HEAD + b">" + b" " * 300_000 + b"</presence>", "presence document: the document is too large"),
        (HEAD + b">" + b"<a>" * 40 + b"</a>" * 40 + b"</presence>", "presence document: the document is nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_pidf, data) == text


def test_only_activities_of_rpid_are_written() -> None:
    with pytest.raises(DocumentError, match=r"^presence document: an activity that is not of RPID$"):
        build_pidf(Pidf("sip:a@b", person_activities=("gaming",)))


def test_what_xml_cannot_hold_is_left_out() -> None:
    assert parse_pidf(build_pidf(Pidf("sip:a@b", notes=("a\0b\x1f\ud800c\ufffe\r\n<&>d",)))).notes == ("abc\r\n<&>d",)
    assert clean("\t\U0001f600") == "\t\U0001f600"
    assert not issubclass(DocumentError, XmlError)


tuples = st.builds(
    Tuple,
    id=full_texts,
    basic=st.sampled_from(("open", "closed", None)),
    contact=texts,
    priority=st.none() | st.integers(0, 1000).map(lambda thousandths: thousandths / 1000),
    note=texts,
    timestamp=maybe_times,
)


@st.composite
def documents(draw: st.DrawFn) -> Pidf:
    activities = tuple(draw(st.lists(st.sampled_from(sorted(ACTIVITIES)), max_size=3, unique=True)))
    inputs: tuple[UserInput | None, ...] = ("active", "idle", None)
    user_input = draw(st.sampled_from(inputs))
    return Pidf(
        entity=draw(full_texts),
        tuples=tuple(draw(st.lists(tuples, max_size=3))),
        person_activities=activities,
        notes=tuple(draw(st.lists(full_texts, max_size=2))),
        other_activity=draw(texts) if "other" in activities else "",
        person_notes=tuple(draw(st.lists(full_texts, max_size=2))),
        user_input=user_input,
        last_input=draw(maybe_times) if user_input else None,
        person_timestamp=draw(maybe_times),
    )


@given(documents())
def test_what_is_written_is_read_again(pidf: Pidf) -> None:
    assert parse_pidf(build_pidf(pidf)) == pidf
