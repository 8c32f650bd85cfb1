from __future__ import annotations

import asyncio
import os
import socket

from services.avedge.channel import LARGEST, Channel
from tests.support.waiting import until


class User:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.files: list[int] = []
        self.ends = 0

    def received(self, data: bytes, files: list[int]) -> None:
        self.messages.append(data)
        self.files += files

    def ended(self) -> None:
        self.ends += 1


def pair() -> tuple[Channel, socket.socket, User]:
    """A channel, and the other end of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    user = User()
    return Channel(ours, user), theirs, user


async def test_messages_stay_apart_and_in_order_however_many_wait() -> None:
    sender, theirs, _ = pair()
    messages = [bytes((number,)) * (LARGEST - number) for number in range(40)]
    for message in messages:
        sender.send(message)
    user = User()
    receiver = Channel(theirs, user)
    await until(lambda: len(user.messages) == len(messages))
    assert user.messages == messages
    sender.close()
    await until(lambda: user.ends == 1)
    receiver.send(b"to nobody")
    receiver.close()
    assert user.ends == 1


async def test_a_descriptor_goes_along_though_it_is_closed_while_it_waits() -> None:
    sender, theirs, _ = pair()
    for _ in range(10):
        sender.send(bytes(LARGEST))
    reading, writing = os.pipe()
    sender.send(b"take this", [writing])
    os.close(writing)
    user = User()
    receiver = Channel(theirs, user)
    await until(lambda: b"take this" in user.messages)
    (passed,) = user.files
    os.write(passed, b"through it")
    os.close(passed)
    assert os.read(reading, 100) == b"through it"
    os.close(reading)
    sender.close()
    receiver.close()


async def test_what_was_sent_before_the_end_is_taken_before_it() -> None:
    channel, theirs, user = pair()
    theirs.send(b"one")
    theirs.send(b"two")
    theirs.close()
    await until(lambda: user.ends == 1)
    assert user.messages == [b"one", b"two"]
    await asyncio.sleep(0)
    channel.close()
