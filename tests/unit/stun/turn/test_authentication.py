"""Long-term credentials: challenges, algorithms, hashed names, nonces, and how little is said to strangers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parley.platform.limits import RateLimiter
from parley.stun.addresses import Address
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.integrity import (
    Algorithm,
    integrity_is_right,
    integrity_sha256_is_right,
    long_term_key,
    protect,
    user_hash,
)
from parley.stun.message import Message
from parley.stun.turn.credentials import Account, ChainedCredentials, Refusal, StaticCredentials, TimeLimitedCredentials
from parley.stun.turn.events import Allocated, Failed
from parley.stun.turn.nonces import PASSWORD_ALGORITHMS, USERNAME_ANONYMITY, Nonces, features_of, nonce_cookie
from parley.stun.turn.transactions import Session
from tests.support.turn import CLIENT, PASSWORD, REALM, USER, WALL, FakeClient, Rig

MD5_FIRST = bytes.fromhex("0001000000020000")
SHA256_FIRST = bytes.fromhex("0002000000010000")
UDP_WANTED = (Attribute.REQUESTED_TRANSPORT, b"\x11\0\0\0")


def challenge(rig: Rig) -> Message:
    reply = rig.server.receive(rig.client().flow, bytes(a_request()), rig.now)
    assert reply is not None
    return Message.parse(reply)


def a_request() -> Message:
    return Message(Method.ALLOCATE, MessageClass.REQUEST, attributes=[UDP_WANTED])


def answer(rig: Rig, data: bytes, client: Address = CLIENT) -> Message:
    reply = rig.server.receive(replace(rig.client().flow, client=client), data, rig.now)
    assert reply is not None
    return Message.parse(reply)


def code(response: Message) -> int:
    return response.error_code[0] if response.error_code else 0


def signed(nonce: bytes, *more: tuple[int, bytes], key: bytes, sha256: bool = False, username: str = USER) -> bytes:
    message = a_request().add(Attribute.USERNAME, username.encode()).add(Attribute.REALM, REALM.encode())
    message.add(Attribute.NONCE, nonce).attributes.extend(more)
    return protect(message, key, sha256=sha256)


def test_a_challenge_tells_what_is_needed_and_no_more() -> None:
    response = challenge(Rig())
    assert response.error_code == (401, "")
    assert {kind for kind, _ in response.attributes} == {
        Attribute.ERROR_CODE, Attribute.REALM, Attribute.NONCE, Attribute.PASSWORD_ALGORITHMS,
    }  # fmt: skip
    assert response.get(Attribute.PASSWORD_ALGORITHMS) == SHA256_FIRST
    nonce = response.get(Attribute.NONCE)
    assert nonce is not None
    assert features_of(nonce) == PASSWORD_ALGORITHMS | USERNAME_ANONYMITY
    assert len(response.raw) <= 5 * len(bytes(a_request()))


def test_md5_as_all_clients_have_it() -> None:
    rig = Rig()
    key = long_term_key(USER, REALM, PASSWORD)
    response = answer(rig, signed(challenge(rig).get(Attribute.NONCE) or b"", key=key))
    assert response.message_class is MessageClass.SUCCESS
    assert integrity_is_right(response, key)
    assert response.integrity_sha256_at < 0


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("sha256", [True, False])
def test_a_chosen_algorithm(algorithm: Algorithm, sha256: bool) -> None:
    rig = Rig()
    key = long_term_key(USER, REALM, PASSWORD, algorithm)
    chosen = (Attribute.PASSWORD_ALGORITHM, algorithm.to_bytes(2, "big") + b"\0\0")
    nonce = challenge(rig).get(Attribute.NONCE) or b""
    data = signed(nonce, chosen, (Attribute.PASSWORD_ALGORITHMS, SHA256_FIRST), key=key, sha256=sha256)
    response = answer(rig, data)
    assert response.message_class is MessageClass.SUCCESS
    assert integrity_sha256_is_right(response, key)


@pytest.mark.parametrize(
    "attributes",
    [
        [(Attribute.PASSWORD_ALGORITHM, b"\0\1\0\0")],
        [(Attribute.PASSWORD_ALGORITHMS, SHA256_FIRST)],
        [(Attribute.PASSWORD_ALGORITHM, b"\0\1\0\0"), (Attribute.PASSWORD_ALGORITHMS, b"\0\1\0\0")],
        [(Attribute.PASSWORD_ALGORITHM, b"\0\1\0\0"), (Attribute.PASSWORD_ALGORITHMS, MD5_FIRST)],
        [(Attribute.PASSWORD_ALGORITHM, b"\0\3\0\0"), (Attribute.PASSWORD_ALGORITHMS, SHA256_FIRST)],
        [(Attribute.PASSWORD_ALGORITHM, b"\0\1"), (Attribute.PASSWORD_ALGORITHMS, SHA256_FIRST)],
    ],
)
def test_a_list_that_was_changed_on_the_way(attributes: list[tuple[int, bytes]]) -> None:
    rig = Rig()
    nonce = challenge(rig).get(Attribute.NONCE) or b""
    response = answer(rig, signed(nonce, *attributes, key=long_term_key(USER, REALM, PASSWORD)))
    assert code(response) == ErrorCode.BAD_REQUEST
    assert response.get(Attribute.NONCE) is None
    assert not rig.table


def test_a_client_is_not_weakened_on_the_way() -> None:
    response = challenge(Rig())
    response.attributes = [each for each in response.attributes if each[0] != Attribute.PASSWORD_ALGORITHMS]
    assert not Session(USER, PASSWORD).learn(response)


@pytest.mark.parametrize("missing", [Attribute.USERNAME, Attribute.REALM, Attribute.NONCE])
def test_what_must_come_with_a_signature(missing: Attribute) -> None:
    rig = Rig()
    message = Message.parse(signed(challenge(rig).get(Attribute.NONCE) or b"", key=b"k"))
    message.attributes = [each for each in message.attributes if each[0] != missing]
    assert code(answer(rig, protect(message, b"k"))) == ErrorCode.BAD_REQUEST


def test_a_name_that_is_no_text() -> None:
    rig = Rig()
    message = Message.parse(signed(challenge(rig).get(Attribute.NONCE) or b"", key=b"k"))
    message.attributes = [(kind, b"\xff" if kind == Attribute.USERNAME else value) for kind, value in message.attributes]
    assert code(answer(rig, protect(message, b"k"))) == ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("username", "password"), [(USER, "wrong"), ("nobody", PASSWORD), ("1:late", "x"), ("x" * 508, "y")]
)
def test_unknown_names_and_wrong_passwords_look_alike(username: str, password: str) -> None:
    rig = Rig()
    first = challenge(rig)
    data = signed(first.get(Attribute.NONCE) or b"", key=long_term_key(username, REALM, password), username=username)
    response = answer(rig, data)
    assert response.error_code == (401, "")
    assert [kind for kind, _ in response.attributes] == [kind for kind, _ in first.attributes]
    assert len(response.raw) == len(first.raw)
    assert response.integrity_at < 0


def test_another_realm() -> None:
    rig = Rig()
    message = a_request().add(Attribute.USERNAME, USER.encode()).add(Attribute.REALM, b"elsewhere")
    message.add(Attribute.NONCE, challenge(rig).get(Attribute.NONCE) or b"")
    assert code(answer(rig, protect(message, long_term_key(USER, "elsewhere", PASSWORD)))) == ErrorCode.UNAUTHENTICATED


def test_a_nonce_ends_and_the_client_goes_on_with_a_new_one() -> None:
    rig = Rig()
    client = rig.client()
    client.allocate(lifetime=3600)
    rig.now += 601
    assert client.permit("8.8.8.8") != []
    assert (Method.CREATE_PERMISSION, 438) in rig.observer.refused_


def test_a_nonce_is_good_for_one_address_and_any_port_of_it() -> None:
    rig = Rig()
    key = long_term_key(USER, REALM, PASSWORD)
    nonce = challenge(rig).get(Attribute.NONCE) or b""
    response = answer(rig, signed(nonce, key=key), Address("198.51.100.8", CLIENT.port))
    assert code(response) == ErrorCode.STALE_NONCE
    assert response.get(Attribute.NONCE) not in (None, nonce)
    assert code(answer(rig, signed(nonce, key=key), Address(CLIENT.host, 1))) == 0


def test_nonces() -> None:
    nonces = Nonces(bytes(32), REALM, lifetime=60, features=PASSWORD_ALGORITHMS)
    nonce = nonces.issue("8.8.8.8", WALL)
    assert nonces.is_good(nonce, "8.8.8.8", WALL + 59)
    assert not nonces.is_good(nonce, "8.8.8.8", WALL + 60)
    assert not nonces.is_good(nonce, "8.8.8.9", WALL)
    replica = Nonces(bytes(32), REALM, lifetime=60, features=PASSWORD_ALGORITHMS)
    assert replica.is_good(nonce, "8.8.8.8", WALL)
    for strange in (
        Nonces(b"\1" * 32, REALM, lifetime=60, features=PASSWORD_ALGORITHMS),
        Nonces(bytes(32), "elsewhere", lifetime=60, features=PASSWORD_ALGORITHMS),
        Nonces(bytes(32), REALM, lifetime=60, features=0),
    ):
        assert not strange.is_good(nonce, "8.8.8.8", WALL)
    for at in range(len(nonce)):
        altered = nonce[:at] + bytes((nonce[at] ^ 1,)) + nonce[at + 1 :]
        assert not nonces.is_good(altered, "8.8.8.8", WALL), at
    assert not nonces.is_good(nonce[:-1] + b"\xff", "8.8.8.8", WALL)
    assert not nonces.is_good(b"", "8.8.8.8", WALL)


@pytest.mark.parametrize(
    ("nonce", "features"),
    [
        (b"obMatJos2gAAAxyz", 0x800000),
        (b"obMatJos2AAAA", 0),
        (b"obMatJos2AAA", 0),
        (b"obMatJos2!!!!", 0),
        (b"other", 0),
        (b"", 0),
    ],
)
def test_what_a_nonce_tells(nonce: bytes, features: int) -> None:
    assert features_of(nonce) == features


def test_the_cookie_is_that_of_the_rfc() -> None:
    assert nonce_cookie(0x800000) == b"obMatJos2gAAA"


def test_a_hashed_name() -> None:
    rig = Rig()
    client = FakeClient(rig, rig.client().flow, Session(USER, PASSWORD, anonymous=True))
    assert isinstance(client.allocate()[0], Allocated)
    assert client.allocation.username == USER
    client.challenge()
    message = Message.parse(client.core.session.sign(a_request()))
    assert message.get(Attribute.USERNAME) is None
    assert message.get(Attribute.USERHASH) == user_hash(USER, REALM)


def test_a_hash_of_a_name_that_no_list_has() -> None:
    rig = Rig()
    name, password = rig.names.issue("carol", WALL, 60)
    client = FakeClient(rig, rig.client().flow, Session(name, password, anonymous=True))
    assert client.allocate() == [Failed(Method.ALLOCATE, 401, "")]


def test_time_limited_names() -> None:
    rig = Rig()
    name, password = rig.names.issue("carol", WALL, 60)
    assert name == f"{int(WALL) + 60}:carol"
    client = rig.client(session=Session(name, password))
    assert isinstance(client.allocate()[0], Allocated)
    assert client.allocation.user == "carol"
    rig.now += 100  # what was made with a name outlives it
    assert client.permit("8.8.8.8") != [Failed(Method.CREATE_PERMISSION, 401, "")]
    client.core.refresh(rig.now)
    client.exchange()
    assert client.allocation.expires_at == rig.now + 600
    late = rig.client(Address(CLIENT.host, 2), session=Session(name, password))
    assert late.allocate() == [Failed(Method.ALLOCATE, 401, "")]


def test_secrets_are_replaced_while_names_live() -> None:
    old, new = TimeLimitedCredentials([b"old"]), TimeLimitedCredentials([b"new", b"old"])
    name, password = old.issue("carol", WALL, 60)
    account = new.account_of(name, REALM, WALL, Algorithm.MD5)
    assert isinstance(account, Account)
    assert long_term_key(name, REALM, password) in account.keys
    assert new.issue("", WALL, 60)[0] == str(int(WALL) + 60)


@pytest.mark.parametrize("secrets", [[], [b""], [b"a", b""]])
def test_no_empty_secret(secrets: list[bytes]) -> None:
    with pytest.raises(ValueError, match="secret"):
        TimeLimitedCredentials(secrets)


@pytest.mark.parametrize("name", ["", "x", ":carol", "-5:carol", "٣:carol", "1e9", "1" * 13, "12 :x"])
def test_names_of_another_form(name: str) -> None:
    assert TimeLimitedCredentials([b"s"]).account_of(name, REALM, WALL, Algorithm.MD5) is Refusal.UNKNOWN


def test_kinds_of_credentials_in_turn() -> None:
    users = StaticCredentials({USER: PASSWORD}, REALM)
    chain = ChainedCredentials(users, TimeLimitedCredentials([b"s"]))
    assert chain.account_of(USER, REALM, WALL, Algorithm.SHA256) == users.account_of(USER, REALM, WALL, Algorithm.SHA256)
    assert chain.account_of("1:x", REALM, WALL, Algorithm.MD5) is Refusal.EXPIRED
    assert chain.account_of("x", REALM, WALL, Algorithm.MD5) is Refusal.UNKNOWN
    assert users.account_of(USER, "elsewhere", WALL, Algorithm.MD5) is Refusal.UNKNOWN
    assert chain.username_of(user_hash(USER, REALM), REALM) == USER
    assert chain.username_of(bytes(32), REALM) is None


def test_challenges_are_limited_for_each_address() -> None:
    rig = Rig(challenges=RateLimiter(1, 3))
    client = rig.client()
    replies = [rig.server.receive(client.flow, bytes(a_request()), rig.now) for _ in range(5)]
    assert [reply is not None for reply in replies] == [True, True, True, False, False]
    assert [code for _, code in rig.observer.refused_] == [401, 401, 401, 0, 0]
    elsewhere = replace(client.flow, client=Address("198.51.100.9", 1))
    assert rig.server.receive(elsewhere, bytes(a_request()), rig.now) is not None
    assert rig.server.receive(client.flow, bytes(a_request()), rig.now + 2) is not None
