"""DNS for the locator of `parley.sip.location`: asks with dnspython, keeps answers for as long as they say."""

from __future__ import annotations

import random
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from parley.sip.location import Endpoint, Locator, NaptrRecord, RecordType, SrvRecord, Target


class ResolverAway(OSError):
    """No name server answers: whether there is such a domain is not known."""


class Resolver:
    """Answers where the server of a target is."""

    def __init__(
        self, *, nameservers: list[str] | None = None, port: int = 53, timeout_s: float = 3.0,
        transports: tuple[str, ...] = ("TLS", "TCP", "UDP"), ipv6: bool = False,
    ) -> None:  # fmt: skip
        """``nameservers``: None: those of the system. ``ipv6``: ask for AAAA too."""
        self._resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
        if nameservers is not None:
            self._resolver.nameservers = list(nameservers)
        self._resolver.port = port
        self._resolver.lifetime = timeout_s
        self._resolver.cache = dns.resolver.LRUCache(10_000)
        self._transports = transports
        self._types = ("A", "AAAA") if ipv6 else ("A",)

    async def locate(self, target: Target) -> list[Endpoint]:
        """Endpoints in the order to be tried; empty when there are none. Raises ResolverAway when DNS does not answer."""
        locator = Locator(target, self._transports, random=lambda n: random.randint(0, n))  # noqa: S311 - no secret
        while (question := locator.question) is not None:
            if question.kind is RecordType.NAPTR:
                locator.answer_naptr(
                    [
                        NaptrRecord(r.order, r.preference, r.service.decode(), r.replacement.to_text())
                        for r in await self._ask(question.name, "NAPTR")
                        if r.flags.lower() == b"s"
                    ]
                )
            elif question.kind is RecordType.SRV:
                records = await self._ask(question.name, "SRV")
                locator.answer_srv([SrvRecord(r.priority, r.weight, r.port, r.target.to_text()) for r in records])
            else:
                addresses = [r.address for kind in self._types for r in await self._ask(question.name, kind)]
                locator.answer_addresses(addresses)
        return locator.endpoints

    async def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            return list(await self._resolver.resolve(name, kind, search=False))
        except (dns.exception.Timeout, dns.resolver.NoNameservers) as error:
            raise ResolverAway(f"no name server answers: {error}") from None
        except dns.exception.DNSException:
            return []
