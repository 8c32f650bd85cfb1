"""What the REST interface takes and gives. Unknown members of what is taken are refused, so that a typing error is seen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

API: str = "/api/v1"

Text = Annotated[str, Field(max_length=1024)]
Name = Annotated[str, Field(max_length=256)]
Address = Annotated[str, Field(min_length=3, max_length=512, description="user@domain")]
Password = Annotated[SecretStr, Field(min_length=1, max_length=256)]
PageToken = Annotated[str, Field(default="", max_length=512, description="next_page_token of the page before")]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Me(BaseModel):
    """Who has signed in."""

    address: str
    display_name: str
    scheme: str = Field(description="How: ntlm, negotiate, basic, bearer, ticket, form, session")
    administrator: bool
    csrf_token: str = Field(default="", description="For X-CSRF-Token; only of a session")
    expires_at_ms: int = Field(default=0, description="Of a session")


class SignIn(_Taken):
    """A login and its password, for a session."""

    login: Annotated[str, Field(min_length=1, max_length=512)]
    password: Password


class User(BaseModel):
    """Somebody who signs in."""

    address: str
    display_name: str
    login_names: list[str]
    enabled: bool
    created_at_ms: int
    updated_at_ms: int
    version: int


class Users(BaseModel):
    """A page."""

    users: list[User]
    next_page_token: str = ""


class UsersQuery(_Taken):
    """Which users."""

    domain: Annotated[str, Field(default="", max_length=253, description="Only of this domain")]
    page_size: Annotated[int, Field(default=100, ge=1, le=1000)]
    page_token: PageToken


class NewUser(_Taken):
    """A user to be made."""

    address: Address
    display_name: Name = ""
    login_names: Annotated[list[Name], Field(max_length=16)] = []
    password: Password


class UserChange(_Taken):
    """What is to change; what is left out stays."""

    display_name: Name | None = None
    login_names: Annotated[list[Name], Field(max_length=16)] | None = None
    enabled: bool | None = None


class NewPassword(_Taken):
    """Another password."""

    password: Password


Kind = Literal["user", "contact", "group"]
NumberKind = Literal["work", "mobile", "home", "other", "ipphone"]


class Number(_Taken):
    """A phone number."""

    kind: NumberKind
    raw: Annotated[str, Field(max_length=128)]
    normalised: Annotated[str, Field(max_length=128, description="tel: URI; empty: the rules for numbers find it")] = ""


class EntryFields(_Taken):
    """What is known of a person or a group."""

    kind: Kind
    address: Annotated[str, Field(max_length=512, description="user@domain; empty: none")] = ""
    display_name: Text = ""
    given_name: Text = ""
    surname: Text = ""
    mail: Text = ""
    mail_nickname: Text = ""
    title: Text = ""
    department: Text = ""
    company: Text = ""
    office: Text = ""
    city: Text = ""
    state: Text = ""
    country: Text = ""
    manager: Text = ""
    numbers: Annotated[list[Number], Field(max_length=32)] = []
    proxies: Annotated[list[Text], Field(max_length=64)] = []
    hidden: bool = False
    disabled: bool = False
    members: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=20_000, description="Ids")] = []
    rule: Annotated[str, Field(max_length=1024, description="What members of a dynamic group have in common")] = ""
    members_hidden: bool = False


class Entry(EntryFields):
    """An entry of the directory."""

    id: str
    photo_hash: str = ""
    photo_size: int = 0
    source: str
    version: int


class Entries(BaseModel):
    """A page."""

    entries: list[Entry]
    next_page_token: str = ""


class EntriesQuery(_Taken):
    """Which entries."""

    kind: Kind | None = Field(default=None, description="Only of this kind")
    domain: Annotated[str, Field(default="", max_length=253)]
    source: Annotated[str, Field(default="", max_length=64, description="local, csv, scim, ldap:name")]
    page_size: Annotated[int, Field(default=100, ge=1, le=1000)]
    page_token: PageToken


class SearchQuery(_Taken):
    """What people type."""

    q: Annotated[str, Field(min_length=1, max_length=256, description="Words, addresses, numbers")]
    kind: Kind | None = None
    limit: Annotated[int, Field(default=20, ge=1, le=100)]
    page_token: PageToken


class MembersQuery(_Taken):
    """How deep, and how many."""

    nested: Annotated[bool, Field(default=False, description="Groups within it are expanded too")]
    limit: Annotated[int, Field(default=100, ge=1, le=10_000)]


class Members(BaseModel):
    """Who is in a group."""

    members: list[Entry]


class Registration(BaseModel):
    """An endpoint that has signed in."""

    address: str
    contact: str
    transport: str
    received: str
    user_agent: str
    registered_at_ms: int
    expires_at_ms: int
    reachable: bool


class Registrations(BaseModel):
    """A page."""

    registrations: list[Registration]
    next_page_token: str = ""


class RegistrationsQuery(_Taken):
    """Whose."""

    address: Annotated[str, Field(default="", max_length=512)]
    page_size: Annotated[int, Field(default=100, ge=1, le=1000)]
    page_token: PageToken


class Call(BaseModel):
    """A call that goes on."""

    call_id: str
    caller: str
    called: str
    state: str
    started_at_ms: int
    answered_at_ms: int


class Calls(BaseModel):
    """All of them."""

    calls: list[Call]
    front_ends: int
    silent_front_ends: int = Field(description="Those that did not answer; their calls are not here")


class Presence(BaseModel):
    """How available a user is."""

    address: str
    display_name: str
    state: str
    availability: int
    activity: str
    note: str
    in_call: bool
    since_ms: int


class SyncReport(BaseModel):
    """How a source was read."""

    source: str
    state: str
    full: bool
    read: int
    added: int
    changed: int
    removed: int
    bad: int
    failure: str
    failures: int
    entries: int
    started_at_ms: int
    finished_at_ms: int
    last_success_at_ms: int
    problems: list[str]


class SyncReports(BaseModel):
    """All sources."""

    sources: list[SyncReport]


class Version(BaseModel):
    """What runs."""

    version: str
    domains: list[str]
