"""C3P: envelopes and commands."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.c3p.commands import AddUser, User, add_user, conference_id, conference_info, granted_role, locked, user_keys
from parley.c3p.envelope import CCCP, CONFERENCE_INFO, MSCI, MSCP, C3pRequest, failure, parse_request, success
from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.xml import child, local_name, namespace, parse_xml

ALICE = "sip:alice@example.test"
FACTORY = f"{ALICE};gruu;opaque=app:conf:focusfactory"
ID = "0123456789ABCDEF0123456789ABCDEF"


def request(command: str, *, sender: str = ALICE, number: str = "17") -> bytes:
    """A request as clients write it."""
    return (
        f'<?xml version="1.0"?><request xmlns="{CCCP}" xmlns:mscp="{MSCP}" C3PVersion="1" requestId="{number}" '
        f'from="{sender}" to="{FACTORY}">{command}</request>'
    ).encode()


def info(description: str, rest: str = "", entity: str = "") -> C3pRequest:
    return parse_request(
        request(
            f'<addConference><ci:conference-info xmlns:ci="{CONFERENCE_INFO}" xmlns:msci="{MSCI}" entity="{entity}">'
            f"<ci:conference-description>{description}</ci:conference-description>{rest}</ci:conference-info></addConference>"
        )
    )


def test_a_request_is_read_whole() -> None:
    asked = parse_request(request('<modifyConferenceLock mscp:mcuUri="sip:x"><locked>true</locked></modifyConferenceLock>'))
    assert (asked.request_id, asked.sender, asked.to) == ("17", ALICE, FACTORY)
    assert (asked.name, asked.mcu_uri, locked(asked)) == ("modifyConferenceLock", "sip:x", True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "not well-formed"),
        (b"<response/>", "the document is response, not request"),
        (request("<a/>", number="x"), "requestId is no number"),
        (request("<a/>", number="1" * 21), "requestId is no number"),
        (request(""), "a request has one command, this one 0"),
        (request("<a/><b/>"), "a request has one command, this one 2"),
        (request("<a/>").replace(b'C3PVersion="1"', b'C3PVersion="2"'), "only C3PVersion 1 is known"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><request/>', "a document type is not taken"),
        (request(f"<a>{'x' * 70_000}</a>"), "the document is too large"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(C3pError, match=text):
        parse_request(body)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40), st.integers(0, 10**20 - 1))
def test_an_answer_names_the_request_and_turns_it_round(sender: str, number: int) -> None:
    from xml.sax.saxutils import escape

    asked = parse_request(request("<addUser/>", sender=escape(sender, {'"': "&quot;"}), number=str(number)))
    for answer, code in ((success(asked, "<a/>"), "success"), (failure(asked, Reason.FORBIDDEN), "failure")):
        root = parse_xml(answer)
        assert (namespace(root), local_name(root)) == (CCCP, "response")
        assert (root.get("requestId"), root.get("to"), root.get("from")) == (str(number), asked.sender, FACTORY)
        assert root.get("code") == code
    reason = child(parse_xml(failure(asked, Reason.FORBIDDEN)), "addUser")
    assert reason is not None
    assert reason.get("reason") == "forbidden"


def test_a_new_conference_is_described() -> None:
    found = conference_info(
        info(
            f"<ci:subject>Plans</ci:subject><msci:conference-id>{ID}</msci:conference-id>"
            "<msci:expiry-time>2025-01-31T17:57:09Z</msci:expiry-time>"
            "<msci:admission-policy>openAuthenticated</msci:admission-policy>",
            '<ci:users><ci:user entity="sip:bob@example.test"><ci:roles><ci:entry>presenter</ci:entry></ci:roles></ci:user>'
            '</ci:users><msci:conference-view><msci:entity-view entity="chat"/><msci:entity-view entity="audio-video"/>'
            "</msci:conference-view>",
        )
    )
    assert (found.conference_id, found.entity, found.subject, found.description) == (ID, "", "Plans", None)
    assert found.expires_at == datetime(2025, 1, 31, 17, 57, 9, tzinfo=UTC)
    assert found.admission_policy == "openAuthenticated"
    assert found.mcu_types == ("chat", "audio-video")
    assert found.users == (User("sip:bob@example.test", presenter=True),)


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("", Reason.INVALID_CONFERENCE_ID),
        ("<msci:conference-id>short</msci:conference-id>", Reason.INVALID_CONFERENCE_ID),
        (f"<msci:conference-id>{ID}0</msci:conference-id>", Reason.INVALID_CONFERENCE_ID),
        ("<msci:conference-id>0123-4567-89</msci:conference-id>", Reason.INVALID_CONFERENCE_ID),
        (
            f"<msci:conference-id>{ID}</msci:conference-id><msci:expiry-time>tomorrow</msci:expiry-time>",
            Reason.INVALID_EXPIRY_TIME,
        ),
        (
            f"<msci:conference-id>{ID}</msci:conference-id><msci:expiry-time>2025-02-31T00:00:00Z</msci:expiry-time>",
            Reason.INVALID_EXPIRY_TIME,
        ),
    ],
)
def test_a_conference_that_cannot_be_is_refused_with_its_reason(description: str, reason: Reason) -> None:
    with pytest.raises(CommandFailed) as caught:
        conference_info(info(description))
    assert caught.value.reason is reason


def test_who_joins_says_so_with_an_endpoint() -> None:
    asked = parse_request(
        request(
            f'<addUser><conferenceKeys confEntity="F"/><ci:user xmlns:ci="{CONFERENCE_INFO}" entity="{ALICE}">'
            '<ci:roles><ci:entry>attendee</ci:entry></ci:roles><ci:endpoint entity="{1}"/></ci:user></addUser>'
        )
    )
    assert add_user(asked) == AddUser("F", ALICE, presenter=False, endpoint="{1}")


@pytest.mark.parametrize("endpoint", ['<endpoint entity=""/>', "<endpoint/>", f'<endpoint entity="{"x" * 129}"/>'])
def test_an_endpoint_needs_a_name(endpoint: str) -> None:
    asked = parse_request(
        request(f'<addUser><conferenceKeys confEntity="F"/><user entity="{ALICE}">{endpoint}</user></addUser>')
    )
    with pytest.raises(C3pError) as caught:
        add_user(asked)
    assert caught.value.error_id == 3009


def test_commands_about_users_name_them() -> None:
    asked = parse_request(
        request(
            '<modifyUserRoles><userKeys confEntity="F" userEntity="sip:bob@example.test"/>'
            f'<user-roles xmlns="{CONFERENCE_INFO}"><entry>presenter</entry></user-roles></modifyUserRoles>'
        )
    )
    assert user_keys(asked) == ("F", "sip:bob@example.test")
    assert granted_role(asked)
    keys = parse_request(
        request(f'<getConference><conferenceKeys xmlns:m="{MSCI}" m:conference-id="{ID}"/></getConference>')
    )
    assert conference_id(keys) == ID


@pytest.mark.parametrize("roles", ["", "<entry>king</entry>", "<entry>presenter</entry><entry>attendee</entry>"])
def test_a_role_is_one_of_two(roles: str) -> None:
    asked = parse_request(request(f"<modifyUserRoles><user-roles>{roles}</user-roles></modifyUserRoles>"))
    with pytest.raises(CommandFailed) as caught:
        granted_role(asked)
    assert caught.value.reason is Reason.INVALID_ROLE
