"""The gRPC surface of the address book (proto parley.addressbook.v1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.serialization import Encoding
from grpc import StatusCode

from parley.addressbook.errors import EntryError
from parley.platform.clock import Clock
from parley.platform.rpc.batch import batch_handler
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.tracing import Tracer
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookServicer
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.proto.sip.v1.message_pb2 import ItemStatus
from parley.sipae.certificates import CertificateError
from services.addressbook.certificates import CertificateStore, Issuer, describe, is_device
from services.addressbook.config import AddressBookConfig
from services.addressbook.credentials import NO_CREDENTIALS, PasswordError, Vault, derive
from services.addressbook.repository import (
    OUTBOX,
    Absent,
    Conflict,
    Exists,
    KeptElsewhere,
    LoginTaken,
    StoredUser,
    UserRepository,
)
from services.addressbook.users import (
    UserError,
    check_display_name,
    check_login_names,
    digest_logins,
    login_key,
    normal_address,
)

logger = logging.getLogger(__name__)

_CHANGE_TRIES: Final = 3
_MIN_PREFIX: Final = 4
_BEING_CHANGED: Final = "the user is being changed by somebody else; try again"
_WAS_CHANGED: Final = "the user was changed by somebody else; read it again"


class AddressBookSurface(AddressBookServicer):
    """Credentials in batches, users one by one."""

    def __init__(
        self,
        config: AddressBookConfig,
        repository: UserRepository,
        vault: Vault,
        clock: Clock,
        tracer: Tracer,
        on_events: Callable[[str], None],
        certificates: CertificateStore,
        issuer: Issuer,
    ) -> None:
        self._config = config
        self._repository = repository
        self._vault = vault
        self._clock = clock
        self._tracer = tracer
        self._on_events = on_events
        self._certificates = certificates
        self._issuer = issuer
        self.GetCredentials: Any = batch_handler(self.get_credentials, pb.GetCredentialsResponse)

    # Credentials

    async def get_credentials(self, items: Sequence[pb.CredentialsLookup]) -> Sequence[pb.CredentialsResult]:
        """What the users of some logins sign in with."""
        spans = [
            self._tracer.start("addressbook.credentials", kind="server", parent=item.traceparent)
            for item in (items if self._tracer.enabled else ())
        ]
        outcome: Literal["ok", "error"] = "error"
        try:
            addresses = await self._repository.addresses_of([login_key(item.login, item.realm) for item in items])
            known = list(dict.fromkeys(address for address in addresses if address is not None))
            found = dict(zip(known, await self._repository.get_many(known), strict=True)) if known else {}
            shown = {
                (address, item.certificate_sha256)
                for item, address in zip(items, addresses, strict=True)
                if address is not None and item.certificate_sha256
            }
            expiries = await self._expiries(shown)
            outcome = "ok"
        except StoreError:
            raise RpcError(StatusCode.UNAVAILABLE, "the store is away") from None
        finally:
            for span in spans:
                span.end(outcome)
        results = []
        for item, address in zip(items, addresses, strict=True):
            stored = found.get(address) if address is not None else None
            if not item.certificate_sha256:
                results.append(self._credentials(item, stored))
            else:
                expires_ms = expiries.get((address, item.certificate_sha256), 0) if address is not None else 0
                results.append(self._certified(item, stored, expires_ms))
        return results

    async def _expiries(self, shown: set[tuple[str, bytes]]) -> dict[tuple[str, bytes], int]:
        """When some certificates end, by address and digest; 0 for those that are not in force."""
        if not shown:
            return {}
        wanted = list(shown)
        return dict(zip(wanted, await self._certificates.expiries(wanted, self._now_ms()), strict=True))

    @staticmethod
    def _certified(
        item: pb.CredentialsLookup, stored: StoredUser | StoreError | None, expires_ms: int
    ) -> pb.CredentialsResult:
        """Who signs in with a certificate."""
        if isinstance(stored, StoreError):
            return _failed(item, StatusCode.UNAVAILABLE, "the store is away")
        if stored is None or not expires_ms:
            return _failed(item, StatusCode.NOT_FOUND, "no such certificate")
        user = stored.user
        known = pb.Credentials(
            address=user.address, display_name=user.display_name, enabled=user.enabled, version=user.version,
            certificate_expires_at_ms=expires_ms,
        )  # fmt: skip
        return pb.CredentialsResult(id=item.id, credentials=known)

    def _credentials(self, item: pb.CredentialsLookup, stored: StoredUser | StoreError | None) -> pb.CredentialsResult:
        if isinstance(stored, StoreError):
            return _failed(item, StatusCode.UNAVAILABLE, "the store is away")
        if stored is None:
            return _failed(item, StatusCode.NOT_FOUND, "no such user")
        user = stored.user
        try:
            opened = self._vault.open(stored.credentials, user.address) if stored.credentials else NO_CREDENTIALS
        except ValueError as error:
            return _failed(item, StatusCode.FAILED_PRECONDITION, f"credentials cannot be read: {error}")
        # The domain is part of what was hashed.
        secrets = opened.digests.get(item.login) if item.realm == user.address.partition("@")[2] else None
        return pb.CredentialsResult(
            id=item.id,
            credentials=pb.Credentials(
                address=user.address,
                display_name=user.display_name,
                enabled=user.enabled,
                version=user.version,
                ha1_md5=secrets.md5 if secrets else b"",
                ha1_sha256=secrets.sha256 if secrets else b"",
                nt_hash=opened.nt_hash,
            ),
        )

    # Users

    async def CreateUser(self, request: pb.CreateUserRequest, context: Any) -> pb.CreateUserResponse:
        """Makes a user with a password."""
        now_ms = self._now_ms()
        try:
            user = pb.User(
                address=normal_address(request.user.address, self._config.domains),
                display_name=check_display_name(request.user.display_name),
                login_names=check_login_names(request.user.login_names),
                enabled=True,
                created_at_ms=now_ms,
                updated_at_ms=now_ms,
            )
            sealed = self._seal(user, request.password)
        except (UserError, PasswordError) as error:
            raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
        try:
            version = await self._repository.create(user, sealed, self._event(user, UserChanged.KIND_CREATED))
        except (Exists, Conflict):  # a conflict: somebody else makes it just now
            raise RpcError(StatusCode.ALREADY_EXISTS, f"{user.address} exists already") from None
        except KeptElsewhere as error:
            text = f"{user.address} exists already, and comes from {error.source}; give it a password there or here"
            raise RpcError(StatusCode.ALREADY_EXISTS, text) from None
        except LoginTaken as error:
            raise RpcError(StatusCode.ALREADY_EXISTS, f"login {error} belongs to another user") from None
        except EntryError as error:
            raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        self._on_events(OUTBOX)
        user.version = version
        return pb.CreateUserResponse(user=user)

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.GetUserResponse:
        """A user by address or login name."""
        return pb.GetUserResponse(user=(await self._find(request.address)).user)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        """Users in the order of their addresses."""
        size = min(request.page_size or 100, 1000)
        response = pb.ListUsersResponse()
        try:
            after, domain = request.page_token, "@" + request.domain.lower()
            while len(response.users) < size:
                page = await self._repository.page(after, size)
                for found in await self._repository.get_many(page):
                    if isinstance(found, StoreError):
                        raise found
                    wanted = not request.domain or found is None or found.user.address.endswith(domain)
                    if found is not None and wanted and len(response.users) < size:
                        response.users.append(found.user)
                if len(page) < size:
                    return response
                after = page[-1]
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        response.next_page_token = response.users[-1].address
        return response

    async def SetPassword(self, request: pb.SetPasswordRequest, context: Any) -> pb.SetPasswordResponse:
        """Gives a user another password."""

        def change(user: pb.User) -> bytes:
            return self._seal(user, request.password)

        return pb.SetPasswordResponse(user=await self._apply(request.address, UserChanged.KIND_PASSWORD_CHANGED, change))

    async def SetEnabled(self, request: pb.SetEnabledRequest, context: Any) -> pb.SetEnabledResponse:
        """Lets a user in, or keeps one out."""

        def change(user: pb.User) -> None:
            user.enabled = request.enabled

        return pb.SetEnabledResponse(user=await self._apply(request.address, _kind_of_enabled(request.enabled), change))

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Any) -> pb.UpdateUserResponse:
        """Changes names. A new login name works with digest once the password is set again: only then is it derived."""

        def change(user: pb.User) -> None:
            if request.HasField("display_name"):
                user.display_name = check_display_name(request.display_name)
            gone = set(request.remove_login_names)
            names = [name for name in user.login_names if name not in gone]
            user.login_names[:] = check_login_names([*names, *request.add_login_names])
            if request.HasField("enabled"):
                user.enabled = request.enabled

        kind = _kind_of_enabled(request.enabled) if request.HasField("enabled") else UserChanged.KIND_UPDATED
        expected = _expected_version(request)
        return pb.UpdateUserResponse(user=await self._apply(request.address, kind, change, expected))

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Any) -> pb.DeleteUserResponse:
        """Removes a user."""
        user = (await self._find(request.address)).user
        expected = _expected_version(request)
        try:
            await self._repository.delete(user.address, self._event(user, UserChanged.KIND_DELETED), expected)
        except Absent:
            raise _no_user(request.address) from None
        except (Exists, Conflict):
            raise RpcError(StatusCode.ABORTED, _BEING_CHANGED if expected is None else _WAS_CHANGED) from None
        except KeptElsewhere as error:
            raise RpcError(StatusCode.FAILED_PRECONDITION, str(error)) from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        self._on_events(OUTBOX)
        return pb.DeleteUserResponse()

    # Certificates

    async def IssueCertificate(self, request: pb.IssueCertificateRequest, context: Any) -> pb.IssueCertificateResponse:
        """Gives the device of a user a certificate."""
        user = (await self._find(request.address)).user
        if not user.enabled or user.version != request.user_version:
            raise RpcError(StatusCode.FAILED_PRECONDITION, "the user was changed since the password was checked")
        if not is_device(request.device):
            raise RpcError(StatusCode.INVALID_ARGUMENT, "the device has no name that can be kept")
        now = self._clock.wall()
        try:
            certificate = self._issuer.issue(user.address, request.request, now)
        except CertificateError as error:
            raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
        der = certificate.public_bytes(Encoding.DER)
        try:
            await self._certificates.add(user.address, user.version, describe(certificate, der, request.device, now))
        except (Absent, Conflict):
            raise RpcError(StatusCode.FAILED_PRECONDITION, "the user was changed since the password was checked") from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        logger.info("a certificate was issued to %s, serial %x", user.address, certificate.serial_number)
        return pb.IssueCertificateResponse(certificate=der)

    async def ListCertificates(self, request: pb.ListCertificatesRequest, context: Any) -> pb.ListCertificatesResponse:
        """The certificates of a user that are in force."""
        user = (await self._find(request.address)).user
        try:
            return pb.ListCertificatesResponse(certificates=await self._certificates.of(user.address, self._now_ms()))
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None

    async def WithdrawCertificates(
        self, request: pb.WithdrawCertificatesRequest, context: Any
    ) -> pb.WithdrawCertificatesResponse:
        """Ends certificates, and what was allowed by the password so far."""
        if 0 < len(request.sha256_prefix) < _MIN_PREFIX:
            raise RpcError(StatusCode.INVALID_ARGUMENT, f"name at least {_MIN_PREFIX} bytes of the certificate's SHA-256")
        user = (await self._find(request.address)).user
        event = self._event(user, UserChanged.KIND_CERTIFICATES_WITHDRAWN)
        try:
            count = await self._certificates.withdraw(user.address, request.sha256_prefix, event)
        except Absent:
            raise _no_user(request.address) from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        self._on_events(OUTBOX)
        logger.info("%d certificates of %s were withdrawn", count, user.address)
        return pb.WithdrawCertificatesResponse(withdrawn=count)

    async def _find(self, text: str) -> StoredUser:
        try:
            (address,) = await self._repository.addresses_of([login_key(text, self._config.domains[0])])
            found = await self._repository.get(address) if address is not None else None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        if found is None:
            raise _no_user(text)
        return found

    async def _apply(
        self, text: str, kind: UserChanged.Kind.ValueType, change: Callable[[pb.User], bytes | None],
        expected: int | None = None,
    ) -> pb.User:  # fmt: skip
        """Reads, changes and writes a user; again when somebody else was faster, unless a version is expected."""
        for _ in range(_CHANGE_TRIES):
            user = (await self._find(text)).user
            if expected is not None and user.version != expected:
                raise RpcError(StatusCode.ABORTED, _WAS_CHANGED)
            try:
                sealed = change(user)
                user.updated_at_ms = self._now_ms()
                await self._repository.update(user, sealed, self._event(user, kind))
            except (Exists, Conflict):
                continue
            except (UserError, PasswordError, EntryError) as error:
                raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
            except LoginTaken as error:
                raise RpcError(StatusCode.ALREADY_EXISTS, f"login {error} belongs to another user") from None
            except Absent:
                raise _no_user(text) from None
            except KeptElsewhere as error:
                raise RpcError(StatusCode.FAILED_PRECONDITION, str(error)) from None
            except StoreError as error:
                raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
            self._on_events(OUTBOX)
            user.version += 1
            return user
        raise RpcError(StatusCode.ABORTED, _BEING_CHANGED)

    def _now_ms(self) -> int:
        return round(self._clock.wall() * 1000)

    def _seal(self, user: pb.User, password: str) -> bytes:
        realm = user.address.partition("@")[2]
        credentials = derive(password, digest_logins(user), realm, min_length=self._config.min_password_length)
        return self._vault.seal(credentials, user.address)

    def _event(self, user: pb.User, kind: UserChanged.Kind.ValueType) -> UserChanged:
        return UserChanged(
            kind=kind,
            address=user.address,
            login_names=digest_logins(user),
            version=user.version + 1,
            at_ms=self._now_ms(),
        )


def _failed(item: pb.CredentialsLookup, code: StatusCode, message: str) -> pb.CredentialsResult:
    return pb.CredentialsResult(id=item.id, status=ItemStatus(code=code.value[0], message=message))


def _kind_of_enabled(enabled: bool) -> UserChanged.Kind.ValueType:
    return UserChanged.KIND_ENABLED if enabled else UserChanged.KIND_DISABLED


def _expected_version(request: pb.UpdateUserRequest | pb.DeleteUserRequest) -> int | None:
    return request.expected_version if request.HasField("expected_version") else None


def _no_user(text: str) -> RpcError:
    return RpcError(StatusCode.NOT_FOUND, f"there is no user {text}")
