"""What the signatures of Communicator cost: checking a request, signing a notification, and the parts of both.

``python -m bench.micro_signing`` prints microseconds for each message, the best of several runs. Messages are read before,
where that is not part of what is measured: the front end has read what it checks.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable, Sequence
from itertools import count

from parley.ntlm.messages import OFFERED
from parley.ntlm.signing import Signer
from parley.sip.message import Request, Response, parse_message
from parley.sipae.association import Association, NtlmCipher, Verdict
from parley.sipae.fields import REALM
from parley.sipae.negotiation import Handshakes, Server
from parley.sipae.text import signed_text
from services.frontend.sealing import Seal

COUNT = 1000
_KEY = bytes(range(16))
_NAME = "front.example.test"

REQUEST = (
    "SERVICE sip:alice@example.test SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.10:50312\r\nMax-Forwards: 70\r\n"
    "From: <sip:alice@example.test>;tag=9f7c1a{n};epid=0123456789ab\r\nTo: <sip:alice@example.test>\r\n"
    "Call-ID: 84381763768{n}\r\nCSeq: 1 SERVICE\r\nContact: <sip:alice@example.test;opaque=user:epid:x;gruu>\r\n"
    "User-Agent: UCCAPI/3.5.6907.0 OC/3.5.6907.0\r\n{signature}"
    "Content-Type: application/msrtc-category-publish+xml\r\nContent-Length: {length}\r\n\r\n{body}"
)
NOTIFICATION = (
    "BENOTIFY sip:192.0.2.10:50312;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bK{n}\r\n"
    "Max-Forwards: 69\r\nFrom: <sip:bob@example.test>;tag=1f{n}\r\n"
    "To: <sip:alice@example.test>;tag=9f7c1a{n};epid=0123456789ab\r\n"
    "Call-ID: 84381763768{n}\r\nCSeq: 17 BENOTIFY\r\nContact: <sip:bob@example.test;opaque=app:presence>\r\n"
    "Event: presence\r\nSubscription-State: active;expires=26000\r\nRequire: eventlist\r\n"
    "Content-Type: application/msrtc-event-categories+xml\r\nContent-Length: {length}\r\n\r\n{body}"
)
BODY = "<categories>" + "x" * 900 + "</categories>"


def new_association() -> Association:
    """One whose numbers begin anew."""
    return Association(
        scheme="NTLM", targetname=_NAME, opaque="5A6B7C8D", version=4, cipher=NtlmCipher(_KEY, OFFERED),
        address="sip:alice@example.test", display_name="Alice", expires_at=1e12, random=lambda: "0A1B2C3D",
    )  # fmt: skip


def new_seal() -> Seal:
    """Of a connection whose client is signed in."""
    seal = Seal(Handshakes(Server(_NAME, "EXAMPLE", "example.test", 3600, bytes)))
    seal.establish(new_association())
    return seal


def requests() -> list[bytes]:
    """Requests that a client signed, numbered from 1."""
    client = Signer(_KEY, OFFERED, server=False)
    made = []
    for n in range(1, COUNT + 1):
        plain = parse_message(REQUEST.format(n=n, signature="", length=len(BODY), body=BODY).encode())
        text = signed_text(plain, "NTLM", "deadbeef", n, REALM, _NAME, 4)
        signature = (
            f'Proxy-Authorization: NTLM qop="auth", realm="{REALM}", opaque="5A6B7C8D", crand="deadbeef", cnum="{n}", '
            f'targetname="{_NAME}", response="{client.sign(text).hex()}"\r\n'
        )
        made.append(REQUEST.format(n=n, signature=signature, length=len(BODY), body=BODY).encode())
    return made


def notifications() -> list[bytes]:
    """Notifications as the presence service makes them."""
    return [NOTIFICATION.format(n=n, length=len(BODY), body=BODY).encode() for n in range(COUNT)]


def read(data: Sequence[bytes]) -> list[Request | Response]:
    """Messages as the front end has them: what routing looks at is read already."""
    messages = [parse_message(one) for one in data]
    for message in messages:
        _ = message.from_, message.to, message.cseq, message.call_id
    return messages


Step = Callable[[], Callable[[], object]]
"""Prepares a run; what it returns is measured."""


def steps() -> dict[str, Step]:
    """All that is measured, by name."""
    asked, told = requests(), notifications()
    text = signed_text(parse_message(told[0]), "NTLM", "0A1B2C3D", 1, REALM, _NAME, 4)

    def hmac_alone() -> Callable[[], object]:
        signer = Signer(_KEY, OFFERED, server=True)
        return lambda: [signer.sign(text) for _ in range(COUNT)]

    def text_alone() -> Callable[[], object]:
        messages, number = read(told), count(1)
        return lambda: [signed_text(one, "NTLM", "0A1B2C3D", next(number), REALM, _NAME, 4) for one in messages]

    def sign() -> Callable[[], object]:
        messages, association = read(told), new_association()
        return lambda: [association.sign(one) for one in messages]

    def seal() -> Callable[[], object]:
        sealing = new_seal()
        return lambda: [sealing.sealed(one) for one in told]

    def check() -> Callable[[], object]:
        messages, sealing = read(asked), new_seal()

        def run() -> None:
            for one in messages:
                if sealing.judge(one, 0.0) is not Verdict.GENUINE:
                    raise AssertionError("a good signature is taken for a bad one")

        return run

    def parse() -> Callable[[], object]:
        return lambda: [parse_message(one) for one in told]

    return {
        "check a request (credentials, text, HMAC)": check,
        "sign a notification (text, HMAC, header)": sign,
        "from bytes to signed bytes": seal,
        "  of it: reading the message": parse,
        "  of it: the text that is signed": text_alone,
        "  of it: the HMAC": hmac_alone,
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=15, help="runs of each step; the best counts")
    repeat: int = parser.parse_args().repeat
    print(f"messages with a body of {len(BODY)} bytes, best of {repeat} runs of {COUNT}")
    for name, step in steps().items():
        seconds = min(timeit.timeit(step(), number=1) for _ in range(repeat))
        print(f"{name:<44} {seconds / COUNT * 1e6:6.1f} us")


if __name__ == "__main__":
    main()
