"""What the self-test does over HTTPS: one user looks for the other in the directory, as a browser or a script does."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from parley.platform.reasons import reason_of
from parley.selftest.agent import Identity
from parley.selftest.report import StepFailed

_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class WebPlace:
    """Where the web service is."""

    url: str
    """As ``https://host:port``."""
    trust: ssl.SSLContext
    """How its certificate is checked."""
    name: str = ""
    """That the certificate must have; "": the host of the URL."""


async def find_by_search(place: WebPlace, asks: Identity, wanted: Identity, patience_s: float) -> str:
    """Has a user search for another's address; what was found. Raises StepFailed.

    Who has just been made may be found a moment later, so it is asked again for ``patience_s``.
    """
    search = f"{place.url}/api/v1/directory/search"
    expected = f"{search} to find {wanted.address}"
    login = aiohttp.BasicAuth(asks.address, asks.password, "utf-8")
    deadline = asyncio.get_running_loop().time() + patience_s
    async with aiohttp.ClientSession(auth=login, timeout=aiohttp.ClientTimeout(total=patience_s)) as session:
        while True:
            found = await _search(session, place, search, wanted.address, expected)
            if wanted.address in found:
                return f"{place.url}, {len(found)} found"
            if asyncio.get_running_loop().time() >= deadline:
                came = f"{', '.join(found) or 'nothing'} after {patience_s:g} s"
                raise StepFailed(expected, came, "`parley directory rebuild-index` makes the index of the search anew")
            await asyncio.sleep(_LOOK_S)


async def _search(session: aiohttp.ClientSession, place: WebPlace, search: str, text: str, expected: str) -> list[str]:
    """Addresses that a search gives."""
    try:
        async with session.get(
            search, params={"q": text}, ssl=place.trust, server_hostname=place.name or None, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                raise StepFailed(expected, f"{answer.status} {(await answer.text())[:200]}", _looks(answer.status))
            content = await answer.json()
        return [str(address) for address in addresses_in(content)]
    except aiohttp.ClientConnectorCertificateError as error:
        problem = f"its certificate is refused: {getattr(error.certificate_error, 'verify_message', error)}"
        raise StepFailed(expected, problem, "--ca says whom to trust, --https-name whom to expect") from None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise StepFailed(
            expected, reason_of(error), "is that address right, and is the web service up and let in?"
        ) from None


def addresses_in(content: Any) -> list[str]:
    """The SIP addresses, without their scheme, of an answer of the search. Raises KeyError, TypeError for none."""
    return [entry["address"].removeprefix("sip:") for entry in content["entries"] if entry.get("address")]


def _looks(status: int) -> str:
    if status == 401:
        return "does the web service reach the address book, and serve the domain (web.domains)?"
    if status >= 500:
        return "does the web service reach the address book (platform.rpc.targets.addressbook)? see its log"
    return "see the log of the web service, by the request_id"
