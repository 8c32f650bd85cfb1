"""The SIP torture messages of RFC 4475 and the IPv6 ones of RFC 5118, with what the RFCs say of each."""

from __future__ import annotations

from tests.support.torture.case import Case, Verdict
from tests.support.torture.rfc4475 import RFC4475
from tests.support.torture.rfc5118 import RFC5118

ALL: tuple[Case, ...] = (*RFC4475, *RFC5118)
BY_NAME: dict[str, Case] = {case.name: case for case in ALL}

__all__ = ["ALL", "BY_NAME", "RFC4475", "RFC5118", "Case", "Verdict"]
