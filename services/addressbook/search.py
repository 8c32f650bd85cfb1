"""Directory search of Communicator: SOAP in SERVICE to the domain (MS-SIP section 3.8).

Rows of the filter are all to hold; a value is the beginning of what is looked for, whatever the case. Found are the users
and contacts of the domain, as they are found everywhere else: best first.
"""

from __future__ import annotations

from typing import Final, Protocol

from parley.addressbook.attributes import values
from parley.addressbook.entries import Entry, Kind
from parley.addressbook.errors import QueryError
from parley.addressbook.searching.criteria import Criteria
from parley.addressbook.searching.queries import Question
from parley.addressbook.searching.stages import Search
from parley.platform.applications.host import Incoming
from parley.presence.documents.contact_lists import SOAP_TYPE, SoapCall, parse_soap, search_result
from parley.presence.errors import PresenceError
from parley.sip.diagnostics import ms_diagnostics
from services.addressbook.directory.searching import Narrowed

_MOST: Final = 100


class Searcher(Protocol):
    """The search index."""

    async def search(self, question: Question, limit: int, token: str = "") -> Search:
        """One page. Raises QueryError, StoreError."""


class DirectorySearch:
    """See `parley.platform.applications.host.Handler`."""

    def __init__(self, index: Searcher) -> None:
        self._index = index

    async def handle(self, incoming: Incoming) -> None:
        """Answers a SERVICE to a domain; StoreError is answered by the host."""
        request = incoming.request
        domain = incoming.user_aor.rpartition("@")[2]
        kind = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
        if request.method != "SERVICE" or kind != SOAP_TYPE.lower():
            incoming.reply(415, None, (("Accept", SOAP_TYPE),))
            return
        try:
            call = parse_soap(request.body)
            if call.method != "directorySearch":
                raise PresenceError(f"no such method: {call.method}", 501)
            most = min(_MOST, call.number("maxResults") or _MOST)
            rows, more = await self._find(call, domain, most)
        except PresenceError as error:
            incoming.reply(error.status, None, (ms_diagnostics(1000, str(error), domain),))
            return
        except QueryError as error:
            incoming.reply(400, None, (ms_diagnostics(1000, str(error), domain),))
            return
        incoming.reply(200, None, (("Content-Type", SOAP_TYPE),), search_result(rows, more=more))

    async def _find(self, call: SoapCall, domain: str, most: int) -> tuple[list[dict[str, str]], bool]:
        wanted = [(name, value) for name, value in call.rows if value.strip()]
        if not wanted:
            return [], False

        def keep(entry: Entry) -> bool:
            return entry.kind is not Kind.GROUP and entry.address.endswith(f"@{domain}")

        found = await self._index.search(Narrowed(Criteria.all_of(wanted), keep, domain), most)
        return [_row(entry) for entry in found.entries], bool(found.token)


def _row(entry: Entry) -> dict[str, str]:
    return {
        "uri": entry.address, "displayName": entry.name, "title": entry.title, "office": entry.office,
        "phone": next(iter(values(entry, "telephoneNumber")), ""), "company": entry.company, "city": entry.city,
        "state": entry.state, "country": entry.country, "email": entry.mail or entry.address_text,
    }  # fmt: skip
