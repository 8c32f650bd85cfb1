"""The users of a first try: alice, bob and carol, with a password that is printed and kept with the data."""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path
from typing import Final

from grpc import StatusCode

from parley.platform.keys import write_private
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import CreateUserRequest, SetPasswordRequest, User
from services.addressbook.service import AddressBookSurface

logger = logging.getLogger(__name__)

NAMES: Final = ("alice", "bob", "carol")
PASSWORD_FILE: Final = "demo-password"  # noqa: S105 - the name of a file
_RETRY_S: Final = 1.0


def demo_password(folder: Path, configured: str) -> tuple[str, bool]:
    """The password of the demo users: the configured one, the one kept, or a random one; and whether it was not kept yet.

    Users that are there already then have another one, be it that the configuration or the data folder changed.
    """
    path = folder / PASSWORD_FILE
    kept = path.read_text().strip() if path.exists() else ""
    password = configured or kept or secrets.token_urlsafe(9)
    if password != kept:
        write_private(path, password + "\n")
    return password, password != kept


async def ensure_demo_users(surface: AddressBookSurface, domain: str, password: str, *, changed: bool) -> None:
    """Makes the demo users that are absent; gives them all the password when it ``changed``."""
    realm = domain.partition(".")[0].upper()
    while True:
        try:
            await asyncio.gather(*(_ensure(surface, name, domain, realm, password, changed) for name in NAMES))
        except RpcError as error:
            if error.code is not StatusCode.UNAVAILABLE:
                raise
            logger.info("the demo users cannot be made yet: %s", error)
            await asyncio.sleep(_RETRY_S)
            continue
        return


async def _ensure(surface: AddressBookSurface, name: str, domain: str, realm: str, password: str, changed: bool) -> None:
    user = User(address=f"{name}@{domain}", display_name=name.capitalize(), login_names=[f"{realm}\\{name}"])
    try:
        await surface.CreateUser(CreateUserRequest(user=user, password=password), None)
    except RpcError as error:
        if error.code is not StatusCode.ALREADY_EXISTS:
            raise
        if changed:
            await surface.SetPassword(SetPasswordRequest(address=user.address, password=password), None)
