"""What an entry of a directory server is in ours (web-services sheet, section 9.1).

Attributes have the names of Active Directory; for other servers those of inetOrgPerson (RFC 2798); the configuration may
name others. A person with a SIP address is a user, also by the configured domain when the server knows no such address;
other people are contacts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from parley.addressbook.attributes import attribute
from parley.addressbook.entries import Entry, Kind, Membership, NumberKind, Origin, PhoneNumber, checked
from parley.addressbook.errors import EntryError
from parley.addressbook.ldap.filters import Comparison
from services.addressbook.directory.applying import Item, Trouble
from services.addressbook.directory.config import LdapConfig
from services.addressbook.directory.ldap.client import RawEntry

_DISABLED: Final = 0x2
"""Of userAccountControl (MS-ADTS section 2.2.16)."""
_MAX_LOGINS: Final = 8
_LATE: Final = timedelta(minutes=10)
"""So much later than it is made a change may come to the server that we read, from another that it was made at."""
_TIMES: Final = MappingProxyType({"entryCSN": ".000000Z#000000#000#000000", "modifyTimestamp": "Z"})
"""What tells changes by time, and how such a value ends (to the second)."""
_FIELDS: Final = MappingProxyType(
    {
        "displayName": "display_name", "givenName": "given_name", "sn": "surname", "mail": "mail",
        "mailNickname": "mail_nickname", "title": "title", "department": "department", "company": "company",
        "physicalDeliveryOfficeName": "office", "l": "city", "st": "state", "c": "country", "manager": "manager",
    }
)  # fmt: skip
_NUMBERS: Final = MappingProxyType(
    {
        "telephoneNumber": NumberKind.WORK, "mobile": NumberKind.MOBILE, "otherMobile": NumberKind.MOBILE,
        "homePhone": NumberKind.HOME, "otherHomePhone": NumberKind.HOME, "otherTelephone": NumberKind.OTHER,
        "ipPhone": NumberKind.IP_PHONE,
    }
)  # fmt: skip
_ADDRESS: Final = "msRTCSIP-PrimaryUserAddress"
_NAMES: Final = (*_FIELDS, *_NUMBERS, _ADDRESS, "proxyAddresses")
_INET_ORG_PERSON: Final = MappingProxyType(
    {
        "mailNickname": "uid", "department": "ou", "company": "o", "otherTelephone": "", "otherMobile": "",
        "otherHomePhone": "", "ipPhone": "", "proxyAddresses": "", _ADDRESS: "",
    }
)  # fmt: skip
_GROUPS: Final = frozenset({"group", "groupofnames", "groupofuniquenames", "posixgroup"})
_PEOPLE: Final = frozenset({"user", "person", "inetorgperson", "organizationalperson"})


@dataclass(frozen=True, slots=True)
class _Server:
    """What is different between kinds of servers."""

    id: str
    login: str
    change: tuple[str, ...]
    filter: str
    further: tuple[str, ...]


SERVERS: Final = MappingProxyType(
    {
        "ad": _Server(
            "objectGUID", "sAMAccountName", ("uSNChanged",),
            "(|(&(objectCategory=person)(|(objectClass=user)(objectClass=contact)))(objectCategory=group))",
            ("userAccountControl", "userPrincipalName", "msRTCSIP-UserEnabled", "msRTCSIP-Line",
             "msExchHideFromAddressLists", "hideDLMembership", "member"),
        ),
        "openldap": _Server(
            "entryUUID", "uid", ("entryCSN", "modifyTimestamp"),
            "(|(objectClass=person)(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))",
            ("member", "uniqueMember", "memberUid"),
        ),
    }
)  # fmt: skip


class Mapping:
    """The mapping of one server."""

    def __init__(self, source: str, config: LdapConfig) -> None:
        self._source = source
        self._config = config
        self.server = SERVERS[config.kind]
        self.filter = config.filter or self.server.filter
        usual = {} if config.kind == "ad" else _INET_ORG_PERSON
        given = {known.name: theirs for ours, theirs in config.attributes.items() if (known := attribute(ours)) is not None}
        self._theirs = {name: given.get(name, usual.get(name, name)) for name in _NAMES}

    @property
    def attributes(self) -> list[str]:
        """What is to be asked for."""
        server = self.server
        names = {"objectClass", "cn", server.id, server.login, *server.change, *server.further, *self._theirs.values()}
        return sorted(name for name in names if name)

    def id_of(self, raw: RawEntry) -> UUID | None:
        """The UUID of an entry, which stays when it is moved or renamed."""
        values = raw.attributes.get(self.server.id.lower(), [])
        try:
            if self._config.kind == "ad":
                return UUID(bytes_le=values[0])
            return UUID(values[0].decode())
        except (IndexError, ValueError):
            return None

    def equals(self, id: UUID) -> Comparison:
        """The filter that finds an entry."""
        value = id.bytes_le if self._config.kind == "ad" else str(id).encode()
        return Comparison(self.server.id, value)

    def change_of(self, raw: RawEntry) -> tuple[str, str]:
        """What tells that an entry changed: the attribute and its value; ("", "") when the server does not say."""
        return next(((name, text) for name in self.server.change if (text := raw.text(name))), ("", ""))

    def item(self, raw: RawEntry) -> Item | Trouble:
        """The entry, or what is wrong with it."""
        id = self.id_of(raw)
        if id is None:
            return Trouble(f"the entry has no {self.server.id}; let bind_dn read it", column=self.server.id, key=raw.dn)
        kind = self._kind(raw)
        fields: dict[str, Any] = {field: raw.text(self._theirs[name]).strip() for name, field in _FIELDS.items()}
        fields["display_name"] = fields["display_name"] or raw.text("cn").strip()
        proxies = tuple(text.strip() for text in raw.texts(self._theirs["proxyAddresses"]) if ":" in text)
        try:
            entry = checked(
                Entry(
                    id, kind, self._address(raw, fields["mail"]) if kind is Kind.USER else "", numbers=self._numbers(raw),
                    proxies=proxies, hidden=raw.text("msExchHideFromAddressLists").upper() == "TRUE",
                    enabled=not self._is_disabled(raw), origin=Origin(self._source, raw.dn, self.change_of(raw)[1]),
                    membership=self._membership(raw) if kind is Kind.GROUP else None, **fields,
                )
            )  # fmt: skip
        except EntryError as error:
            return Trouble(error.problem, column=error.field, key=raw.dn)
        return Item(entry, logins=self._logins(raw, entry) if kind is Kind.USER else None)

    def _kind(self, raw: RawEntry) -> Kind:
        classes = {text.lower() for text in raw.texts("objectClass")}
        if classes & _GROUPS:
            return Kind.GROUP
        if "contact" not in classes and classes & _PEOPLE and self._address(raw, raw.text(self._theirs["mail"]).strip()):
            return Kind.USER
        return Kind.CONTACT

    def _address(self, raw: RawEntry, mail: str) -> str:
        if raw.text("msRTCSIP-UserEnabled").upper() != "FALSE":
            address = raw.text(self._theirs[_ADDRESS]).strip()
            if address:
                return address
        login = raw.text(self.server.login).strip() or mail.partition("@")[0]
        return f"sip:{login}@{self._config.domain}" if self._config.domain and login else ""

    @staticmethod
    def _is_disabled(raw: RawEntry) -> bool:
        control = raw.text("userAccountControl")
        return control.isdigit() and bool(int(control) & _DISABLED)

    def _numbers(self, raw: RawEntry) -> tuple[PhoneNumber, ...]:
        found = [PhoneNumber(NumberKind.WORK, text) for text in raw.texts("msRTCSIP-Line") if text]
        for name, kind in _NUMBERS.items():
            theirs = self._theirs[name]
            found += [PhoneNumber(kind, text) for text in (raw.texts(theirs) if theirs else []) if text.strip()]
        return tuple(found)

    @staticmethod
    def _membership(raw: RawEntry) -> Membership:
        names = [text for name in ("member", "uniqueMember", "memberUid") for text in raw.texts(name)]
        hidden = "TRUE" in (raw.text(name).upper() for name in ("hideDLMembership", "msExchHideFromAddressLists"))
        return Membership(unresolved=tuple(text for text in names if text.strip()), hidden=hidden)

    def _logins(self, raw: RawEntry, entry: Entry) -> tuple[str, ...]:
        """What the user may sign in with besides the address."""
        login = raw.text(self.server.login).strip()
        names = [login, raw.text("userPrincipalName").strip()]
        if self._config.login_domain and login:
            names.append(f"{self._config.login_domain}\\{login}")
        own = {entry.address_text, entry.address_text.partition("@")[0]}
        usable = [name for name in names if name and name.lower() not in own and '"' not in name and name.isprintable()]
        return tuple(dict.fromkeys(name for name in usable if " " not in name))[:_MAX_LOGINS]


def begin_of_changes(known: tuple[str, str], looked_at: float) -> tuple[str, str]:
    """From which change on a server is asked, so that late ones are not missed.

    ``known``: the last one that is known; ``looked_at``: Unix time, by our clock, since when nobody looked.
    """
    name, value = known
    end = _TIMES.get(name)
    try:
        at = datetime.strptime(value[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return known
    # What came before we looked is known, however little changed since; but no clock of ours leaves more out than that.
    begin = max(at - _LATE, datetime.fromtimestamp(looked_at, UTC) - _LATE)
    if end is None or begin >= at:
        return known
    return name, begin.strftime("%Y%m%d%H%M%S") + end
