"""What the torture messages of RFC 4475 and RFC 5118 are about: the values in those that can be read."""

from __future__ import annotations

import pytest

from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, parse_message
from parley.sip.nameaddr import NameAddr
from parley.sip.uri import aor, parse_uri, unescape, uri_equal
from tests.support.torture import BY_NAME


def request(name: str) -> Request:
    message = parse_message(BY_NAME[name].data)
    assert isinstance(message, Request)
    return message


def contacts_of(name: str) -> list[NameAddr]:
    contacts = request(name).contacts
    assert isinstance(contacts, list)
    return contacts


def test_wsinv_folds_blanks_and_mixed_forms() -> None:
    message = request("wsinv")
    assert "unknownparam" in message.uri.params
    assert message.uri.params.get("unknownparam") is None
    assert (message.to.uri_text, message.to_tag) == ("sip:vivekg@chair-dnrc.example.com", "1918181833n")
    assert (message.from_.display_name, message.from_tag) == ('J Rosenberg \\"', "98asjd8")
    assert (message.max_forwards, message.content_length) == (68, 150)
    assert (message.cseq.number, message.cseq.method) == (9, "INVITE")
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert all("".join(via.protocol.split()) == "SIP/2.0" for via in message.vias)
    assert message.get("Subject") == ""
    assert message.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert message.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert message.routes[0].uri.params.get("unknownwith") == "value"
    [contact] = contacts_of("wsinv")
    assert contact.display_name == 'Quoted string ""'
    assert list(contact.params) == [("newparam", "newvalue"), ("secondparam", None), ("q", "0.33")]
    assert len(message.body) == 150


def test_intmeth_unusual_characters() -> None:
    message = request("intmeth")
    assert message.method == message.cseq.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.uri.host == "example.com"
    assert message.via.branch == "z9hG4bK-.!%66*_+`'~"
    assert message.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.display_name == "token1~` token2'+_ token3*%!.-"
    assert message.from_.params.get("fromParam''~+*_!.-%") == '"работающий"'
    assert message.from_tag == "_token~1'+`*%!-."
    assert message.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert message.get("extensionHeader-!.%*+_`'~") == "\ufeff大停電"
    assert message.max_forwards == 255


def test_esc01_escapes_are_resolved_once() -> None:
    message = request("esc01")
    assert unescape(message.uri.user or "") == "sips:user@example.com"
    assert message.uri.host == "example.net"
    assert aor(message.to.uri) == "sip:user@example.com"
    assert unescape(message.from_.uri.user or "") == "I have spaces"
    [contact] = contacts_of("esc01")
    assert contact.uri.user == "cal%6Cer"
    params = [(unescape(name), value if value is None else unescape(value)) for name, value in contact.uri.params]
    assert params == [("lr", None), ("name", "value%41")]
    assert uri_equal(contact.uri, parse_uri("sip:caller@host5.example.net;lr;name=value%2541"))
    assert not uri_equal(contact.uri, parse_uri("sip:caller@host5.example.net;lr;name=valueA"))


def test_escnull_a_null_does_not_end_a_name() -> None:
    message = request("escnull")
    assert aor(message.to.uri) == "sip:null-%00-null@example.com"
    assert unescape(message.to.uri.user or "") == "null-\x00-null"
    first, second = contacts_of("escnull")
    assert [unescape(contact.uri.user or "") for contact in (first, second)] == ["\x00", "\x00\x00"]
    assert not uri_equal(first.uri, second.uri)


def test_esc02_percent_is_no_escape_in_methods_names_and_headers() -> None:
    message = request("esc02")
    assert message.method == message.cseq.method == "RE%47IST%45R"
    assert message.to.display_name == message.from_.display_name == "%Z%45"
    assert [str(contact) for contact in contacts_of("esc02")] == [
        "<sip:alias1@host1.example.com>",
        "<sip:alias3@host3.example.com>",
    ]
    assert message.get("C%6Fntact") == "<sip:alias2@host2.example.com>"
    assert message.via.branch == "z9hG4bK209%fzsnel234"


def test_lwsdisp_no_blank_before_the_bracket() -> None:
    message = request("lwsdisp")
    assert (message.from_.display_name, message.from_.uri_text) == ("caller", "sip:caller@example.com")


def test_longreq_long_and_many_values() -> None:
    message = request("longreq")
    assert message.to.display_name == f"I have a user name of {'extreme' * 10} proportion"
    assert message.to.uri.port == 6000
    assert message.to.uri.params.get("unknownparam1") == f"very{'long' * 20}value"
    assert message.to.uri.params.get(f"longparam{'name' * 25}") == "shortvalue"
    assert f"very{'long' * 25}ParameterNameWithNoValue" in message.to.uri.params
    assert message.from_tag == f"12{'982' * 50}424"
    assert message.from_.uri.user == "amazinglylongcallername" * 5
    assert message.call_id == f"longreq.one{'really' * 20}longcallid"
    assert [via.host for via in message.vias] == [f"sip{n}.example.com" for n in range(33, 0, -1)] + ["host.example.com"]
    assert (message.vias[-1].received, message.vias[-1].branch) == ("192.0.2.5", f"very{'long' * 50}branchvalue")
    assert message.via.branch is None


def test_semiuri_a_semicolon_in_the_user_part() -> None:
    uri = request("semiuri").uri
    assert (unescape(uri.user or ""), uri.host, len(uri.params)) == ("user;par=u@example.net", "example.com", 0)
    assert request("semiuri").values("Accept")[-1] == "message/sipfrag"


def test_transports_all_kinds() -> None:
    assert [via.transport for via in request("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_a_binary_body_with_nulls() -> None:
    message = request("mpart01")
    assert message.content_length == len(message.body) == 553
    boundary = b"--7a9cbec02ceef655"
    _, text, binary, end = message.body.split(boundary)
    assert end == b"--\r\n"
    assert text.endswith(b"\r\n\r\nHello\r\n")
    signature = binary.partition(b"\r\n\r\n")[2][:-2]
    assert len(signature) == 342
    assert signature[:4] == b"\x30\x82\x01\x52"
    assert signature.count(b"\0") == 2
    assert message.via.rport is None
    assert "rport" in message.via.params
    assert message.get("Content-Type") == "multipart/mixed;boundary=7a9cbec02ceef655"


def test_reason_phrases() -> None:
    unusual = parse_message(BY_NAME["unreason"].data)
    empty = parse_message(BY_NAME["noreason"].data)
    assert isinstance(unusual, Response)
    assert isinstance(empty, Response)
    assert (unusual.status, unusual.reason) == (200, "= 2**3 * 5**2 но сто девяносто девять - простое")
    assert (empty.status, empty.reason) == (100, "")


def test_overlarge_numbers_are_neither_cut_nor_wrapped() -> None:
    message = request("scalar02")
    assert message.expires == 2**32 - 1
    with pytest.raises(SipParseError, match="CSeq Out of Range"):
        _ = message.cseq
    with pytest.raises(SipParseError, match="Bad Max-Forwards"):
        _ = message.max_forwards


def test_escruri_headers_of_the_request_uri_do_not_become_headers() -> None:
    message = request("escruri")
    assert message.routes == []
    message.set_uri(message.uri_text)
    assert message.uri_text == "sip:user@example.com"


def test_mismatch_of_methods() -> None:
    for name in ("mismatch01", "mismatch02"):
        message = request(name)
        assert (message.cseq.number, message.cseq.method) == (8, "INVITE")
        assert message.method != "INVITE"


def test_badbranch_is_no_transaction_identifier() -> None:
    assert request("badbranch").via.branch == "z9hG4bK"


@pytest.mark.parametrize(("name", "scheme"), [("unkscm", "nobodyknowsthisscheme"), ("novelsc", "soap.beep")])
def test_other_schemes_are_read(name: str, scheme: str) -> None:
    uri = request(name).uri
    assert (uri.scheme, uri.is_sip) == (scheme, False)


def test_unksm2_other_schemes_in_headers() -> None:
    message = request("unksm2")
    assert str(message.to.uri) == "isbn:2983792873"
    assert str(message.from_.uri) == "http://www.example.com"
    assert [str(contact) for contact in contacts_of("unksm2")] == ["<name:John_Smith>"]


def test_bext01_every_option_tag_is_seen() -> None:
    message = request("bext01")
    assert message.values("Require") == ["nothingSupportsThis", "nothingSupportsThisEither"]
    assert message.values("Proxy-Require") == ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]


def test_unknown_content_and_authorization_are_kept() -> None:
    assert request("invut").body == b'<audio>\r\n <pcmu port="443"/>\r\n</audio>\r\n'
    assert request("regaut01").get("Authorization") == "NoOneKnowsThisScheme opaque-data=here"


def test_bcast_the_second_via_is_read_and_not_followed() -> None:
    message = parse_message(BY_NAME["bcast"].data)
    assert [via.host for via in message.vias] == ["192.0.2.198", "255.255.255.255"]


def test_parameters_of_contacts_belong_where_they_stand() -> None:
    [bare], [bracketed], [escaped] = (contacts_of(name) for name in ("cparam01", "cparam02", "regescrt"))
    assert ("unknownparam" in bare.params, "unknownparam" in bare.uri.params) == (True, False)
    assert ("unknownparam" in bracketed.params, "unknownparam" in bracketed.uri.params) == (False, True)
    assert escaped.uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_inv2543_what_old_clients_leave_out() -> None:
    message = request("inv2543")
    assert (message.via.branch, message.from_tag, message.max_forwards, message.content_length) == (None, None, None, None)
    assert message.body.startswith(b"v=0\r\n")
    assert message.body.endswith(b"RTP/AVP 0\r\n")
    assert message.record_routes[0].uri.params.get("maddr") == "ss1.example.com"
    # A bare URI's parameters are the header's.
    assert (message.to.params.get("user"), message.to.uri.params.get("user")) == ("phone", None)


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        ("ipv6-good", "[2001:db8::10]", None),
        ("port-ambiguous", "[2001:db8::10:5070]", None),
        ("port-unambiguous", "[2001:db8::10]", 5070),
        ("ipv6-bug-abnf-3-colons", "[2001:db8:::192.0.2.1]", None),
        ("ipv6-correct-abnf-2-colons", "[2001:db8::192.0.2.1]", None),
    ],
)
def test_ipv6_in_the_request_uri(name: str, host: str, port: int | None) -> None:
    uri = request(name).uri
    assert (uri.host, uri.port) == (host, port)


def test_three_colons_are_meant_as_two() -> None:
    three, two = request("ipv6-bug-abnf-3-colons"), request("ipv6-correct-abnf-2-colons")
    assert uri_equal(three.uri, two.uri)
    assert aor(three.to.uri) == aor(two.to.uri)


@pytest.mark.parametrize("name", ["via-received-param-with-delim", "via-received-param-no-delim"])
def test_ipv6_in_received_with_and_without_brackets(name: str) -> None:
    via = request(name).via
    assert (via.host, via.received) == ("[2001:db8::9:1]", "2001:db8::9:255")


def test_ipv6_in_vias_contacts_and_bodies() -> None:
    mixed = request("mult-ip-in-header")
    assert [(via.host, via.port, via.received) for via in mixed.vias] == [
        ("[2001:db8::9:1]", 6050, None),
        ("192.0.2.1", None, None),
        ("[2001:db8::9:255]", None, "192.0.2.200"),
    ]
    mapped = request("ipv4-mapped-ipv6")
    assert [(via.host, via.port) for via in mapped.vias] == [("[::ffff:192.0.2.10]", 19823), ("[::ffff:192.0.2.2]", None)]
    [contact] = contacts_of("ipv4-mapped-ipv6")
    assert (contact.display_name, contact.uri.host) == ("T. desk phone", "[::ffff:192.0.2.2]")
    assert b"c=IN IP6 ::ffff:192.0.2.2\r\n" in mapped.body
    assert b"c=IN IP6 2001:db8::20\r\n" in request("ipv6-in-sdp").body
    assert request("mult-ip-in-sdp").body.count(b"c=IN IP") == 2
