"""Who is let in by the gate, with an acceptor that needs no tickets and an address book of two users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from grpc import StatusCode

from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials
from parley.sip.message import Request
from parley.sipae.acceptor import Established, TokenAcceptor
from parley.sipae.fields import offer
from services.frontend.associations import Gate
from services.frontend.authentication import Accepted
from services.frontend.communicator import sign_in_servers
from services.frontend.config import FrontendConfig, LimitsConfig
from services.frontend.flows import Flow, Flows
from services.frontend.guessing import GuessGuard
from services.frontend.kerberos import Contexts, OnceClient
from services.frontend.proxying.wiring import Refusal
from tests.unit.services.frontend.test_kerberos import Registrar
from tests.unit.sipae.test_kerberos import SERVICE, FakeAcceptor, signed, ticket

KERBEROS, NTLM = offer("Kerberos", SERVICE), offer("NTLM", "ocs.example.test")


class OneFlow(Flow):
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(1, "TLS", ("192.0.2.1", 5000), ("192.0.2.2", 5061))
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> bool:
        self.sent.append(data)
        return True


class AddressBook:
    """Users by login."""

    users = {
        "alice@example.test": Credentials(address="sip:alice@example.test", display_name="Alice", enabled=True),
        "bob@example.test": Credentials(address="sip:bob@example.test", enabled=False),
    }

    def get(
        self, login: str, realm: str, traceparent: str, done: Callable[[Credentials | None], None], certificate: bytes = b""
    ) -> None:
        assert not certificate
        done(self.users.get(login))


class Door:
    """A gate, and what it says."""

    def __init__(
        self, acceptor: TokenAcceptor, *, limit: int = 10, failures: int = 30, once: OnceClient | None = None
    ) -> None:
        config = FrontendConfig.model_validate(
            {
                "domains": ["example.test", "other.test"],
                "communicator": {
                    "server_name": "ocs.example.test", "kerberos": {"keytab": "/a"},
                    "schemes": {"example.test": ["Kerberos", "NTLM"]},
                },
            }
        )  # fmt: skip
        loop, clock = asyncio.get_running_loop(), FakeClock()
        self.contexts = Contexts(acceptor, SERVICE, once or Registrar(), loop, limit=limit)
        self.gate = Gate(
            cast(Any, None), servers=sign_in_servers(config, SERVICE), cache=cast(Any, AddressBook()),
            guard=GuessGuard(LimitsConfig(failures_per_source=failures), clock, loop), clock=clock, flows=Flows(),
            contexts=self.contexts,
        )  # fmt: skip

    def knock(self, request: Request, flow: Flow) -> asyncio.Future[Accepted | Refusal]:
        """Somebody wants in."""
        answer: asyncio.Future[Accepted | Refusal] = asyncio.get_running_loop().create_future()
        self.gate.judge(request, flow, proxy=False, done=answer.set_result)
        return answer


def challenges(answer: Accepted | Refusal) -> list[str]:
    """The challenges of a 401."""
    assert isinstance(answer, Refusal)
    assert answer.status == 401
    assert dict(answer.headers)["Date"] == "Sun, 15 Jun 2025 15:06:40 GMT"
    return [value for name, value in answer.headers if name == "WWW-Authenticate"]


async def test_a_ticket_lets_in_and_then_signatures_do() -> None:
    door, flow = Door(FakeAcceptor()), OneFlow()
    answer = await door.knock(ticket(), flow)
    assert isinstance(answer, Accepted)
    assert (answer.identity.aor, answer.identity.display_name) == ("sip:alice@example.test", "Alice")
    assert flow.seal is not None
    assert flow.seal.present is not None
    again = signed(ticket(version=3), 2, 4, f', opaque="{flow.seal.present.opaque}"')
    assert isinstance(await door.knock(again, flow), Accepted)
    door.contexts.close()


async def test_failures_are_challenged_anew_and_count_against_the_source() -> None:
    door = Door(FakeAcceptor(), failures=4)
    for token in ("no name", "alice@ELSEWHERE.TEST", "bob@EXAMPLE.TEST", "nobody@EXAMPLE.TEST"):
        assert challenges(await door.knock(ticket(token), OneFlow())) == [KERBEROS, NTLM]
    answer = await door.knock(ticket(), OneFlow())
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (503, "Too Many Failures")
    door.contexts.close()


async def test_failures_without_a_name_delay_nobody() -> None:
    door = Door(FakeAcceptor(), limit=50)
    for _ in range(12):
        door.knock(ticket("no name"), OneFlow())
    answers = [door.knock(ticket("no name"), OneFlow()) for _ in range(8)]
    async with asyncio.timeout(5):
        for answer in answers:
            assert challenges(await answer) == [KERBEROS, NTLM]
    door.contexts.close()


async def test_when_too_many_wait_the_next_is_told_to_come_back() -> None:
    class NeverAsked:
        def accept(self, token: bytes) -> Established:
            raise AssertionError(token)

    door = Door(NeverAsked(), limit=0)
    answer = await door.knock(ticket(), OneFlow())
    assert isinstance(answer, Refusal)
    assert (answer.status, dict(answer.headers)) == (503, {"Retry-After": "5"})
    door.contexts.close()


async def test_without_the_registrar_nobody_gets_in() -> None:
    door = Door(FakeAcceptor(), once=Registrar(error=RpcError(StatusCode.UNAVAILABLE, "away")))
    answer = await door.knock(ticket(), OneFlow())
    assert isinstance(answer, Refusal)
    assert answer.status == 503
    assert "Retry-After" in dict(answer.headers)
    door.contexts.close()


async def test_the_schemes_are_those_of_the_domain_that_asks() -> None:
    door, flow = Door(FakeAcceptor()), OneFlow()

    def bare(domain: str) -> Request:
        request = ticket(version=3)
        request.remove("Authorization")
        request.set("From", f"<sip:alice@{domain}>;tag=1;epid=01")
        return request

    assert challenges(await door.knock(bare("example.test"), flow)) == [KERBEROS, NTLM]
    assert challenges(await door.knock(bare("other.test"), flow)) == [NTLM]
    assert challenges(await door.knock(bare("example.test"), flow)) == [KERBEROS, NTLM]
    other = ticket()
    other.set("From", "<sip:alice@other.test>;tag=1;epid=01")
    assert challenges(await door.knock(other, flow)) == [NTLM], "Kerberos is not for that domain"
    door.contexts.close()
