"""Directory search of Communicator: SOAP in SERVICE to the domain (MS-SIP section 3.8).

Rows of the filter are all to hold; a value is the beginning of what is looked for, whatever the case. Names come from the
display name, as the address book keeps no others.
"""

from __future__ import annotations

from typing import Final, Protocol

from parley.platform.applications.host import Incoming
from parley.presence.documents.contact_lists import SOAP_TYPE, SoapCall, parse_soap, search_result
from parley.presence.errors import PresenceError
from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.sip.diagnostics import ms_diagnostics

_MOST: Final = 100
_PAGE: Final = 500
_UNKNOWN: Final = frozenset({"company", "c", "title", "department"})
"""What is not kept of users here: a filter on it finds nobody."""


class UserPages(Protocol):
    """The users, page by page."""

    async def page_of_users(self, after: str, count: int) -> list[User]:
        """Users in the order of their addresses, those behind ``after``; [] at the end. Raises StoreError."""


class DirectorySearch:
    """See `parley.platform.applications.host.Handler`."""

    def __init__(self, users: UserPages) -> None:
        self._users = users

    async def handle(self, incoming: Incoming) -> None:
        """Answers a SERVICE to a domain; StoreError is answered by the host."""
        request = incoming.request
        kind = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
        if request.method != "SERVICE" or kind != SOAP_TYPE.lower():
            incoming.reply(415, None, (("Accept", SOAP_TYPE),))
            return
        try:
            call = parse_soap(request.body)
            if call.method != "directorySearch":
                raise PresenceError(f"no such method: {call.method}", 501)
            most = min(_MOST, call.number("maxResults") or _MOST)
        except PresenceError as error:
            domain = incoming.user_aor.rpartition("@")[2]
            incoming.reply(error.status, None, (ms_diagnostics(1000, str(error), domain),))
            return
        rows, more = await self._find(call, incoming.user_aor.rpartition("@")[2], most)
        incoming.reply(200, None, (("Content-Type", SOAP_TYPE),), search_result(rows, more=more))

    async def _find(self, call: SoapCall, domain: str, most: int) -> tuple[list[dict[str, str]], bool]:
        wanted = [(name, value.strip().lower()) for name, value in call.rows if value.strip()]
        rows: list[dict[str, str]] = []
        after = ""
        while wanted:
            page = await self._users.page_of_users(after, _PAGE)
            for user in page:
                if user.enabled and user.address.endswith(f"@{domain}") and _fits(user, wanted):
                    if len(rows) == most:
                        return rows, True
                    rows.append(_row(user))
            if not page:
                break
            after = page[-1].address
        return rows, False


def _fits(user: User, wanted: list[tuple[str, str]]) -> bool:
    return all(any(text.startswith(value) for text in _texts(user, name)) for name, value in wanted)


def _texts(user: User, attribute: str) -> list[str]:
    """What an attribute of a filter is compared with, in lower case."""
    name = user.display_name.lower()
    address = user.address.lower()
    match attribute:
        case "givenName":
            return [name, address.removeprefix("sip:")]
        case "sn":
            return name.split()[-1:]
        case "displayName":
            return [name]
        case "mail":
            return [address.removeprefix("sip:")]
        case "msRTCSIP-PrimaryUserAddress":
            return [address, address.removeprefix("sip:")]
    return [] if attribute in _UNKNOWN else [name]


def _row(user: User) -> dict[str, str]:
    address = user.address.removeprefix("sip:")
    return {"uri": user.address, "displayName": user.display_name or address, "email": address}
