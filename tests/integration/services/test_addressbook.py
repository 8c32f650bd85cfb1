"""Users and credentials on a real store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parley.platform.clock import FakeClock
from parley.platform.outbox import OutboxRelay
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import NO_TRACER, Tracing
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from parley.proto.events.v1.user_pb2 import UserChanged
from services.addressbook.certificates import CertificateStore, Issuer
from services.addressbook.config import AddressBookConfig, CertificatesConfig
from services.addressbook.credentials import Vault
from services.addressbook.demo import NAMES, ensure_demo_users
from services.addressbook.directory.keys import OUTBOX as DIRECTORY_OUTBOX
from services.addressbook.directory.writing import GONE
from services.addressbook.repository import OUTBOX, TOPIC, StoredUser, UserRepository, decode_event
from services.addressbook.sealing import Sealer
from services.addressbook.service import AddressBookSurface
from tests.integration.services.rig import Bus, all_keys, store_of
from tests.support.ports import free_port
from tests.support.valkey import Valkey, ValkeyCluster
from tests.support.waiting import until

pytestmark = pytest.mark.valkey

PASSWORD = "correct horse"
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


class Book:
    """An address book without its tasks."""

    def __init__(self, store: Store, clock: FakeClock, data: Path = Path("no-data"), *, vault: Vault | None = None) -> None:
        """``data``: where the CA of certificates is made."""
        self.store = store
        self.woken: list[str] = []
        config = AddressBookConfig(
            domains=["example.test", "other.test"], certificates=CertificatesConfig(hours=24, per_user=2)
        )
        self.data = data
        self.clock = clock
        self.vault = vault or Vault(KEY)
        self.surface = AddressBookSurface(
            config, UserRepository(store, ()), self.vault, clock, NO_TRACER, self.woken.append,
            CertificateStore(store, per_user=config.certificates.per_user),
            Issuer(config.certificates, data),
        )  # fmt: skip

    def sealer(self, **options: Any) -> Sealer:
        """Seals credentials with the key of this address book."""
        return Sealer(UserRepository(self.store, ()), self.vault, self.clock, lambda: None, **options)

    async def create(self, address: str, *logins: str, password: str = PASSWORD) -> pb.User:
        """A new user."""
        user = pb.User(address=address, display_name="Somebody", login_names=logins)
        return (await self.surface.CreateUser(pb.CreateUserRequest(user=user, password=password), None)).user

    async def get(self, address: str) -> pb.User:
        """A user."""
        return (await self.surface.GetUser(pb.GetUserRequest(address=address), None)).user

    async def set_password(self, address: str, password: str) -> pb.User:
        """Another password."""
        request = pb.SetPasswordRequest(address=address, password=password)
        return (await self.surface.SetPassword(request, None)).user

    async def names(self, address: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> pb.User:
        """Other login names."""
        request = pb.UpdateUserRequest(address=address, add_login_names=add, remove_login_names=remove)
        return (await self.surface.UpdateUser(request, None)).user

    async def delete(self, address: str) -> None:
        """One user less."""
        await self.surface.DeleteUser(pb.DeleteUserRequest(address=address), None)

    async def credentials(self, login: str, realm: str = "example.test") -> pb.CredentialsResult:
        """What a user signs in with."""
        (result,) = await self.surface.get_credentials([pb.CredentialsLookup(id=4, login=login, realm=realm)])
        assert result.id == 4
        return result

    async def addresses(self, **request: Any) -> list[str]:
        """All pages of ListUsers."""
        found: list[str] = []
        token = ""
        while True:
            page = await self.surface.ListUsers(pb.ListUsersRequest(page_token=token, **request), None)
            found += [user.address for user in page.users]
            token = page.next_page_token
            if not token:
                return found

    async def events(self) -> list[UserChanged]:
        """What waits to be published."""
        raw = await self.store.execute("LRANGE", OUTBOX, 0, -1)
        messages: list[Any] = [decode_event(entry).message for entry in raw]
        return messages


@pytest.fixture
def book(store: Store, clock: FakeClock, tmp_path: Path) -> Book:
    """An address book."""
    return Book(store, clock, tmp_path)


async def code_of(work: Awaitable[object]) -> StatusCode:
    """How a call fails."""
    with pytest.raises(RpcError) as caught:
        await work
    return caught.value.code


def digest(algorithm: str, login: str, realm: str = "example.test", password: str = PASSWORD) -> bytes:
    """H(login:realm:password)."""
    return hashlib.new(algorithm, f"{login}:{realm}:{password}".encode()).digest()


async def test_a_user_that_was_made_is_found_by_every_login(book: Book, clock: FakeClock) -> None:
    made = await book.create("Alice@example.test", "EXAMPLE\\alice")
    assert made == pb.User(
        address="sip:alice@example.test", display_name="Somebody", login_names=["EXAMPLE\\alice"], enabled=True,
        created_at_ms=round(clock.wall() * 1000), updated_at_ms=round(clock.wall() * 1000), version=1,
    )  # fmt: skip
    for login in ("alice", "alice@example.test", "sip:alice@example.test", "example\\ALICE"):
        assert await book.get(login) == made
    assert book.woken == [OUTBOX]


@pytest.mark.parametrize("login", ["alice", "alice@example.test", "EXAMPLE\\alice"])
async def test_credentials_fit_the_login_as_it_was_sent(book: Book, login: str) -> None:
    await book.create("alice", "EXAMPLE\\alice")
    result = await book.credentials(login)
    assert result.status.code == 0
    found = result.credentials
    assert (found.address, found.display_name, found.enabled, found.version) == (
        "sip:alice@example.test", "Somebody", True, 1,
    )  # fmt: skip
    assert found.ha1_md5 == digest("md5", login)
    assert found.ha1_sha256 == digest("sha256", login)
    assert len(found.nt_hash) == 16


async def test_no_digest_is_given_for_a_form_it_was_not_made_for(book: Book) -> None:
    await book.create("alice@other.test")
    for login, realm in (("ALICE", "other.test"), ("alice@other.test", "example.test"), ("alice@other.test", "")):
        found = (await book.credentials(login, realm)).credentials
        assert found.address == "sip:alice@other.test"
        assert (found.ha1_md5, found.ha1_sha256) == (b"", b"")
        assert len(found.nt_hash) == 16
    assert (await book.credentials("alice", "example.test")).status.code == StatusCode.NOT_FOUND.value[0]


async def test_a_batch_of_credentials(book: Book) -> None:
    await book.create("alice")
    await book.create("bob")
    logins = ["bob", "nobody", "alice", "bob"]
    items = [pb.CredentialsLookup(id=index, login=login, realm="example.test") for index, login in enumerate(logins)]
    results = {result.id: result for result in await book.surface.get_credentials(items)}
    found = [results[index].credentials.address.removeprefix("sip:").partition("@")[0] for index in range(4)]
    assert found == ["bob", "", "alice", "bob"]
    assert results[1].status.code == StatusCode.NOT_FOUND.value[0]


async def test_logins_are_unique_among_all_users(book: Book) -> None:
    await book.create("alice", "EXAMPLE\\alice")
    assert await code_of(book.create("alice")) is StatusCode.ALREADY_EXISTS
    assert await code_of(book.create("bob", "example\\ALICE")) is StatusCode.ALREADY_EXISTS
    assert await code_of(book.create("bob", "alice")) is StatusCode.ALREADY_EXISTS
    await book.create("bob")
    assert await code_of(book.names("bob", add=("alice@example.test",))) is StatusCode.ALREADY_EXISTS
    assert (await book.get("bob")).version == 1
    await book.create("alice@other.test")
    assert [event.address for event in await book.events()] == [
        "sip:alice@example.test", "sip:bob@example.test", "sip:alice@other.test",
    ]  # fmt: skip


async def test_one_of_many_that_want_a_login_gets_it(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        books = [Book(left, clock), Book(right, clock)]
        results = await asyncio.gather(
            *(books[index % 2].create(f"u{index}", "EXAMPLE\\wanted") for index in range(10)), return_exceptions=True
        )
        made = [result for result in results if isinstance(result, pb.User)]
        assert len(made) == 1
        assert await books[0].addresses() == [made[0].address]


async def test_changes_of_two_at_once_are_both_made(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        one, two = Book(left, clock), Book(right, clock)
        await one.create("alice")
        await asyncio.gather(one.names("alice", add=("a1",)), two.names("alice", add=("a2",)))
        user = await one.get("alice")
        assert set(user.login_names) == {"a1", "a2"}
        assert user.version == 3
        assert [event.version for event in await one.events()] == [1, 2, 3]


async def test_one_of_many_changes_of_a_version_is_made(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        books = [Book(left, clock), Book(right, clock)]
        version = (await books[0].create("alice@example.test")).version
        requests = [
            pb.UpdateUserRequest(address="alice@example.test", display_name=f"Alice {index}", expected_version=version)
            for index in range(10)
        ]
        changes = [books[index % 2].surface.UpdateUser(asked, None) for index, asked in enumerate(requests)]
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        (made,) = (outcome.user for outcome in outcomes if isinstance(outcome, pb.UpdateUserResponse))
        assert {outcome.code for outcome in outcomes if isinstance(outcome, RpcError)} == {StatusCode.ABORTED}
        user = await books[1].get("alice@example.test")
        assert (user.display_name, user.version) == (made.display_name, version + 1)
        stale = pb.DeleteUserRequest(address="alice@example.test", expected_version=version)
        assert await code_of(books[0].surface.DeleteUser(stale, None)) is StatusCode.ABORTED
        await books[0].surface.DeleteUser(pb.DeleteUserRequest(address=user.address, expected_version=user.version), None)
        assert await code_of(books[0].get("alice@example.test")) is StatusCode.NOT_FOUND


async def test_names_and_whether_somebody_may_sign_in_are_one_change(book: Book) -> None:
    version = (await book.create("alice@example.test")).version
    asked = pb.UpdateUserRequest(address="alice@example.test", display_name="Alice A.", enabled=False)
    changed = (await book.surface.UpdateUser(asked, None)).user
    assert (changed.display_name, changed.enabled, changed.version) == ("Alice A.", False, version + 1)
    assert not (await book.credentials("alice")).credentials.enabled


async def test_a_name_that_was_given_back_is_free(book: Book) -> None:
    await book.create("alice", "shared")
    await book.names("alice", remove=("shared",))
    await book.create("bob", "shared")
    assert (await book.get("shared")).address == "sip:bob@example.test"
    await book.delete("bob")
    assert await code_of(book.get("shared")) is StatusCode.NOT_FOUND


async def test_another_password_is_what_counts_from_then_on(book: Book) -> None:
    await book.create("alice")
    assert (await book.set_password("alice", "another one")).version == 2
    found = (await book.credentials("alice")).credentials
    assert found.ha1_md5 == digest("md5", "alice", password="another one")
    assert found.version == 2


async def test_a_new_login_works_with_digest_when_the_password_is_set(book: Book) -> None:
    await book.create("alice")
    await book.names("alice", add=("al",))
    assert (await book.credentials("al")).credentials.ha1_md5 == b""
    await book.set_password("alice", PASSWORD)
    assert (await book.credentials("al")).credentials.ha1_md5 == digest("md5", "al")


async def test_a_user_is_shut_out_and_let_in(book: Book) -> None:
    await book.create("alice")
    await book.surface.SetEnabled(pb.SetEnabledRequest(address="alice", enabled=False), None)
    assert not (await book.credentials("alice")).credentials.enabled
    await book.surface.SetEnabled(pb.SetEnabledRequest(address="alice", enabled=True), None)
    assert (await book.credentials("alice")).credentials.enabled
    kinds = [UserChanged.Kind.Name(event.kind) for event in await book.events()]
    assert kinds == ["KIND_CREATED", "KIND_DISABLED", "KIND_ENABLED"]


async def test_a_user_that_is_gone_leaves_nothing(book: Book, valkey: Valkey) -> None:
    await book.create("alice", "EXAMPLE\\alice")
    await book.delete("EXAMPLE\\alice")
    assert all_keys(valkey) == {OUTBOX, DIRECTORY_OUTBOX, GONE}
    assert (await book.credentials("alice")).status.code == StatusCode.NOT_FOUND.value[0]
    assert await code_of(book.delete("alice")) is StatusCode.NOT_FOUND
    assert await code_of(book.set_password("alice", PASSWORD)) is StatusCode.NOT_FOUND
    gone = (await book.events())[-1]
    assert (gone.kind, gone.version, list(gone.login_names)) == (
        UserChanged.KIND_DELETED, 2, ["alice", "alice@example.test", "EXAMPLE\\alice"],
    )  # fmt: skip


async def test_what_is_wrong_is_refused_and_nothing_is_written(book: Book, valkey: Valkey) -> None:
    assert await code_of(book.create("alice", password="short")) is StatusCode.INVALID_ARGUMENT
    assert await code_of(book.create("alice@elsewhere.test")) is StatusCode.INVALID_ARGUMENT
    assert await code_of(book.create("alice", "a b")) is StatusCode.INVALID_ARGUMENT
    assert all_keys(valkey) == set()


async def test_users_are_listed_in_order_and_by_domain(book: Book) -> None:
    for index in range(7):
        await book.create(f"u{index}@{'other' if index % 2 else 'example'}.test")
    everyone = await book.addresses()
    assert everyone == sorted(everyone)
    assert len(everyone) == 7
    for size in (1, 2, 3, 7, 100):
        assert await book.addresses(page_size=size) == everyone
        assert await book.addresses(page_size=size, domain="Other.test") == [f"sip:u{i}@other.test" for i in (1, 3, 5)]


async def test_no_secret_reaches_an_event_or_the_store(book: Book, valkey: Valkey) -> None:
    await book.create("alice", password="very secret words")
    stored: Any = valkey.ask("HGETALL", "parley:ab:{users}:u:sip:alice@example.test")
    raw = repr(stored) + repr([event.SerializeToString() for event in await book.events()])
    for secret in ("very secret words", digest("md5", "alice", password="very secret words").hex()):
        assert secret not in raw


# Durability and faults


async def test_an_acknowledged_user_survives_the_death_of_the_store(
    tmp_path_factory: pytest.TempPathFactory, clock: FakeClock
) -> None:
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        async with store_of(server.url) as store:
            await Book(store, clock).create("alice")
            server.kill()
        server.start()
        async with store_of(server.url) as store:
            book = Book(store, clock)
            assert (await book.get("alice")).version == 1
            assert len(await book.events()) == 1


async def test_a_store_that_cannot_promise_is_unavailable(
    tmp_path_factory: pytest.TempPathFactory, clock: FakeClock
) -> None:
    with Valkey(tmp_path_factory.mktemp("valkey"), "--appendonly", "no") as server:
        async with store_of(server.url) as store:
            assert await code_of(Book(store, clock).create("alice")) is StatusCode.UNAVAILABLE


async def test_without_a_store_everything_is_unavailable(clock: FakeClock) -> None:
    async with store_of(f"redis://127.0.0.1:{free_port()}/0") as store:
        book = Book(store, clock)
        assert await code_of(book.create("alice")) is StatusCode.UNAVAILABLE
        assert await code_of(book.get("alice")) is StatusCode.UNAVAILABLE
        assert await code_of(book.addresses()) is StatusCode.UNAVAILABLE
        assert await code_of(book.credentials("alice")) is StatusCode.UNAVAILABLE


# Events, keys, demo users


@pytest.mark.parametrize("typed", ["%C3%96l@example.test", "%4Aoe"])
async def test_users_and_their_entries_have_one_address_however_it_is_typed(book: Book, store: Store, typed: str) -> None:
    address = (await book.create(typed)).address
    assert await code_of(book.create(typed)) is StatusCode.ALREADY_EXISTS
    assert await store.execute("HKEYS", "parley:ab:{users}:by-address") == [address.encode()]
    assert (await book.get(address)).address == address
    assert (await book.names(address, add=("another",))).version == 2
    assert (await book.set_password(address, "another one")).version == 3
    await book.delete(address)
    assert await store.execute("HLEN", "parley:ab:{users}:by-address") == 0


async def test_every_change_is_published_once_it_is_written(book: Book) -> None:
    await book.create("alice")
    await book.set_password("alice", "another one")
    bus = Bus()
    relay = OutboxRelay("addressbook", book.store, bus, [OUTBOX], decode_event)
    await relay.look()
    await relay.relay()
    assert [(topic, key) for topic, key, _, _ in bus.taken] == [(TOPIC, "sip:alice@example.test")] * 2
    assert [message.kind for message in bus.messages] == [UserChanged.KIND_CREATED, UserChanged.KIND_PASSWORD_CHANGED]


async def test_an_event_goes_on_with_the_trace_of_whoever_changed_the_user(book: Book) -> None:
    tracing = Tracing(None, exporter=InMemorySpanExporter())
    with tracing.tracer("addressbook").start("rpc CreateUser", kind="server", parent="") as span:
        await book.create("alice")
    bus = Bus()
    relay = OutboxRelay("addressbook", book.store, bus, [OUTBOX], decode_event)
    await relay.look()
    await relay.relay()
    assert [traceparent for _, _, _, traceparent in bus.taken] == [span.traceparent]
    tracing.stop()


def test_an_event_that_an_older_release_wrote_is_read() -> None:
    event = UserChanged(address="sip:alice@example.test", kind=UserChanged.KIND_DELETED, version=7)
    record = decode_event(event.SerializeToString())
    assert (record.topic, record.key, record.message, record.traceparent) == (TOPIC, event.address, event, "")


async def test_credentials_are_sealed_anew_after_the_master_key_changed(store: Store, clock: FakeClock) -> None:
    before = Book(store, clock)
    for index in range(3):
        await before.create(f"u{index}")
    lost = Book(store, clock, vault=Vault(OTHER_KEY))
    assert (await lost.credentials("u0")).status.code == StatusCode.FAILED_PRECONDITION.value[0]
    book = Book(store, clock, vault=Vault(OTHER_KEY, [KEY]))
    assert (await book.credentials("u0")).credentials.ha1_md5 == digest("md5", "u0")
    await book.set_password("u1", PASSWORD)
    sealer = book.sealer()
    assert await sealer.seal_all() == (2, 0)
    assert await sealer.seal_all() == (0, 0)
    for index in range(3):
        assert (await lost.credentials(f"u{index}")).credentials.ha1_md5 == digest("md5", f"u{index}")


class ChangedMeanwhile(Sealer):
    """Each user is changed by somebody else after it was read, the first so many times."""

    changes = 0

    async def _seal(self, address: str, found: StoredUser | None) -> bool | None:
        update = self._repository.update

        async def late(user: pb.User, credentials: bytes | None, event: UserChanged) -> None:
            if self.changes:
                self.changes -= 1
                other = pb.User()
                other.CopyFrom(user)
                other.display_name = f"Renamed {self.changes}"
                await update(other, None, event)
            await update(user, credentials, event)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._repository, "update", late)
            return await super()._seal(address, found)


@pytest.mark.parametrize(("changes", "outcome"), [(1, (1, 0)), (9, (0, 1))])
async def test_who_is_changed_while_credentials_are_sealed_anew_is_not_passed_over(
    store: Store, clock: FakeClock, changes: int, outcome: tuple[int, int]
) -> None:
    await Book(store, clock).create("alice")
    vault = Vault(OTHER_KEY, [KEY])
    sealer = ChangedMeanwhile(UserRepository(store, ()), vault, clock, lambda: None)
    sealer.changes = changes
    assert await sealer.seal_all() == outcome
    stored = await UserRepository(store, ()).get("sip:alice@example.test")
    assert stored is not None
    assert vault.is_current(stored.credentials) is bool(outcome[0])


async def test_the_key_before_is_needed_until_nobody_is_left(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await Book(store, clock).create("alice")
    await Book(store, clock, vault=Vault(b"x" * 32)).create("bob")  # with a key that nobody has any more
    book = Book(store, clock, vault=Vault(OTHER_KEY, [KEY]))
    running = asyncio.create_task(book.sealer(retry_s=0.05).run())
    await until(lambda: "those of 1 users are left; previous_master_key is still needed" in caplog.text)
    assert "not needed any more" not in caplog.text
    await book.set_password("bob", PASSWORD)
    await running
    assert "credentials of 1 users were sealed anew; previous_master_key is not needed any more" in caplog.text


async def test_demo_users_are_made_and_follow_their_password(book: Book) -> None:
    await ensure_demo_users(book.surface, "example.test", "first password", changed=True)
    assert await book.addresses() == [f"sip:{name}@example.test" for name in NAMES]
    await ensure_demo_users(book.surface, "example.test", "first password", changed=False)
    assert (await book.get("EXAMPLE\\alice")).version == 1
    await ensure_demo_users(book.surface, "example.test", "second password", changed=True)
    found = (await book.credentials("EXAMPLE\\bob")).credentials
    assert found.ha1_sha256 == digest("sha256", "EXAMPLE\\bob", password="second password")


async def test_users_on_a_cluster(valkey_cluster: ValkeyCluster, clock: FakeClock) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        book = Book(store, clock)
        await asyncio.gather(*(book.create(f"u{index}", f"EXAMPLE\\u{index}") for index in range(10)))
        assert len(await book.addresses()) == 10
        assert (await book.credentials("EXAMPLE\\u3")).credentials.ha1_md5 == digest("md5", "EXAMPLE\\u3")
