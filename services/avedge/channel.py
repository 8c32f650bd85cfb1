"""What the service and its worker processes talk over: whole messages, with file descriptors, between two processes.

A pair of sockets of kind SOCK_SEQPACKET keeps messages apart, so there is no framing to get wrong, and says when the other
process has ended, however it ended.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

LARGEST: Final = 131_072
"""Bytes of the largest message: the least that a socket's usual buffer takes."""
_READ: Final = 2 * LARGEST
_MOST_FILES: Final = 253  # SCM_MAX_FD of Linux


class ChannelUser(Protocol):
    """Who uses a channel."""

    def received(self, data: bytes, files: list[int]) -> None:
        """A message came; the descriptors are the receiver's to close."""

    def ended(self) -> None:
        """The other process is gone; called once, when all it sent has been taken."""


class Channel:
    """One end, for the thread of the event loop."""

    def __init__(self, sock: socket.socket, user: ChannelUser) -> None:
        self._socket = sock
        self._user = user
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._open = True
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    def send(self, data: bytes, files: Sequence[int] = ()) -> None:
        """Sends a message, at once or when there is room; ``files`` may be closed. To a process that ended: nothing."""
        if not self._open:
            return
        if self._waiting or not self._sent(data, files):
            if not self._waiting:
                self._loop.add_writer(self._socket, self._writable)
            self._waiting.append((data, [os.dup(number) for number in files]))

    def close(self) -> None:
        """Closes this end; what still waits is not sent."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        for _, files in self._waiting:
            _close_all(files)
        self._waiting.clear()
        self._socket.close()

    def _sent(self, data: bytes, files: Sequence[int]) -> bool:
        """Whether it is sent, or never can be."""
        try:
            socket.send_fds(self._socket, [data], files)
        except (BlockingIOError, InterruptedError):
            return False
        except (BrokenPipeError, ConnectionResetError):
            pass  # the end is seen by who reads
        return True

    def _writable(self) -> None:
        while self._waiting and self._sent(*self._waiting[0]):
            _close_all(self._waiting.popleft()[1])
        if not self._waiting:
            self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        while self._open:
            try:
                data, files, _, _ = socket.recv_fds(self._socket, _READ, _MOST_FILES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, files = b"", []  # reset: the other process ended with something unread
            if not data:
                self.close()
                self._user.ended()
                return
            self._user.received(data, files)


def _close_all(files: Sequence[int]) -> None:
    for number in files:
        os.close(number)
