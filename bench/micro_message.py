"""What a REGISTER costs in the message layer: read it, read the headers a registrar needs, write the answer.

``python -m bench.micro_message`` prints microseconds for each step, the best of several runs.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable
from functools import partial

from parley.sip.framing import StreamFramer
from parley.sip.message import Request, make_response, parse_message

REGISTER = (
    "REGISTER sip:example.test SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{n};rport\r\n"
    'From: "Alice" <sip:alice{user}@example.test>;tag=8321{n}\r\n'
    'To: "Alice" <sip:alice{user}@example.test>\r\n'
    "Max-Forwards: 70\r\n"
    "Call-ID: 84381763768{n}@192.0.2.10\r\n"
    "CSeq: 1826 REGISTER\r\n"
    "Contact: <sip:alice{user}@192.0.2.10:5060;transport=udp>;expires=3600;"
    '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"\r\n'
    "User-Agent: Softphone/1.0 (bench)\r\n"
    "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REFER\r\n"
    "Supported: path, outbound, gruu\r\n"
    "Expires: 3600\r\n"
    "Content-Length: 0\r\n\r\n"
)
COUNT = 1000
USERS = 500


def messages() -> list[bytes]:
    """Different REGISTERs of a few hundred users."""
    return [REGISTER.format(n=100_000 + n, user=n % USERS).encode() for n in range(COUNT)]


def read_only(data: list[bytes]) -> None:
    """The head cut into header lines."""
    for one in data:
        parse_message(one)


def read_typed(data: list[bytes]) -> None:
    """Also the headers a registrar needs."""
    for one in data:
        request = parse_message(one)
        _ = request.via, request.from_.uri, request.to.uri, request.call_id, request.cseq, request.contacts


def answer(data: list[bytes]) -> None:
    """Also the 200 and its bytes."""
    for one in data:
        request = parse_message(one)
        _ = request.via, request.from_.uri, request.to.uri, request.call_id, request.cseq, request.contacts
        if isinstance(request, Request):
            bytes(make_response(request, 200, to_tag="a6c85cf"))


def frame(data: list[bytes]) -> None:
    """Cutting a stream, eight messages a read."""
    framer = StreamFramer()
    for at in range(0, len(data), 8):
        framer.feed(b"".join(data[at : at + 8]))


STEPS: dict[str, Callable[[list[bytes]], None]] = {
    "parse": read_only,
    "parse and read": read_typed,
    "parse, read, answer": answer,
    "frame": frame,
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=15, help="runs of each step; the best counts")
    repeat: int = parser.parse_args().repeat
    data = messages()
    print(f"REGISTER of {len(data[0])} bytes, best of {repeat} runs of {COUNT}")
    for name, step in STEPS.items():
        seconds = min(timeit.repeat(partial(step, data), number=1, repeat=repeat))
        print(f"{name:<22} {seconds / COUNT * 1e6:6.1f} us")


if __name__ == "__main__":
    main()
