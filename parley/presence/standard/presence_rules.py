"""Who may watch: presence authorization rules (RFC 5025), which are a common policy (RFC 4745).

Read are the conditions identity, sphere and validity, and how subscriptions are handled. What a watcher is shown
(transformations) is passed over. A rule with a condition that is not understood is for nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import add, attribute, elements, new_root, put, read_root, read_time, write_time
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, parse_uri
from parley.xml import child, children, local_name, text_of, to_bytes

COMMON_POLICY_NS: Final = "urn:ietf:params:xml:ns:common-policy"
PRESENCE_RULES_NS: Final = "urn:ietf:params:xml:ns:pres-rules"
CONTENT_TYPE: Final = "application/auth-policy+xml"
MAX_RULES: Final = 1000

Handling = Literal["block", "confirm", "polite-block", "allow"]

_WHAT = "presence rules"
# Of the rules that match, the last one in this order is what happens (RFC 5025 section 3.2.1).
_ORDER: Final[tuple[Handling, ...]] = ("block", "confirm", "polite-block", "allow")


@dataclass(frozen=True, slots=True)
class Many:
    """Everybody whose identity is known, or everybody of one domain, but those excepted."""

    domain: str = ""
    except_ids: tuple[str, ...] = ()
    except_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a rule is for: any of these; without any, nobody."""

    ones: tuple[str, ...] = ()
    many: tuple[Many, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, which matches when all its conditions hold.

    ``identity`` is None for everybody, those without an identity too. ``validity`` are times from and until, in seconds
    since 1970, and ``sphere`` is where the presentity is, such as work or home. ``handling`` is None when the rule says
    nothing about subscriptions.
    """

    id: str
    handling: Handling | None = None
    identity: Identity | None = None
    sphere: str = ""
    validity: tuple[tuple[float, float], ...] = ()


def parse_presence_rules(data: bytes) -> tuple[Rule, ...]:
    """Reads a document. Raises DocumentError."""
    root = read_root(data, _WHAT, "ruleset", COMMON_POLICY_NS)
    found = children(root, "rule")
    if len(found) > MAX_RULES:
        raise DocumentError(f"{_WHAT}: too many rules")
    return tuple(_rule(element) for element in found)


def _rule(element: etree._Element) -> Rule:
    identifier = attribute(element, "id")
    if not identifier:
        raise DocumentError(f"{_WHAT}: a rule without an id")
    actions = child(element, "actions")
    handling = text_of(child(actions, "sub-handling")) if actions is not None else ""
    if handling and handling not in _ORDER:
        raise DocumentError(f"{_WHAT}: a sub-handling that is not block, confirm, polite-block or allow")
    identity: Identity | None = None
    sphere = ""
    validity: tuple[tuple[float, float], ...] = ()
    conditions = child(element, "conditions")
    for condition in elements(conditions) if conditions is not None else ():
        name = local_name(condition)
        if name == "identity" and identity is None:
            identity = _identity(condition)
        elif name == "sphere" and not sphere and attribute(condition, "value"):
            sphere = attribute(condition, "value")
        elif name == "validity" and not validity:
            validity = _validity(condition)
        else:
            identity = Identity()
            break
    return Rule(identifier, handling or None, identity, sphere, validity)


def _identity(element: etree._Element) -> Identity:
    """Whom an identity means; what holds more than is understood means nobody."""
    ones: list[str] = []
    many: list[Many] = []
    for found in elements(element):
        if local_name(found) == "one":
            identifier = attribute(found, "id")
            if not identifier:
                raise DocumentError(f"{_WHAT}: one without an id")
            if not elements(found):
                ones.append(identifier)
        elif local_name(found) == "many":
            excepted = children(found, "except")
            ids = tuple(text for item in excepted if (text := attribute(item, "id")))
            domains = tuple(text for item in excepted if (text := attribute(item, "domain")))
            if any(not attribute(item, "id") and not attribute(item, "domain") for item in excepted):
                raise DocumentError(f"{_WHAT}: an exception without an id or domain")
            if len(elements(found)) == len(excepted):
                many.append(Many(attribute(found, "domain"), ids, domains))
    return Identity(tuple(ones), tuple(many))


def _validity(element: etree._Element) -> tuple[tuple[float, float], ...]:
    begins = [read_time(text_of(found)) for found in children(element, "from")]
    ends = [read_time(text_of(found)) for found in children(element, "until")]
    pairs = [(begin, end) for begin, end in zip(begins, ends, strict=False) if begin is not None and end is not None]
    if not pairs or len(pairs) != max(len(begins), len(ends)):
        raise DocumentError(f"{_WHAT}: a validity that is not from one time until another")
    return tuple(pairs)


def build_presence_rules(rules: Iterable[Rule]) -> bytes:
    """Writes a document."""
    root = new_root("ruleset", COMMON_POLICY_NS, {"pr": PRESENCE_RULES_NS})
    for rule in rules:
        element = add(root, "rule")
        put(element, id=rule.id)
        conditions = add(element, "conditions")
        if rule.identity is not None:
            _add_identity(conditions, rule.identity)
        if rule.sphere:
            put(add(conditions, "sphere"), value=rule.sphere)
        if rule.validity:
            validity = add(conditions, "validity")
            for begin, end in rule.validity:
                add(validity, "from", write_time(begin))
                add(validity, "until", write_time(end))
        actions = add(element, "actions")
        if rule.handling is not None:
            add(actions, "sub-handling", rule.handling, uri=PRESENCE_RULES_NS)
        add(element, "transformations")
    return to_bytes(root)


def _add_identity(conditions: etree._Element, identity: Identity) -> None:
    element = add(conditions, "identity")
    for one in identity.ones:
        put(add(element, "one"), id=one)
    for many in identity.many:
        found = add(element, "many")
        put(found, domain=many.domain)
        for domain in many.except_domains:
            put(add(found, "except"), domain=domain)
        for identifier in many.except_ids:
            put(add(found, "except"), id=identifier)


def decide(
    rules: Iterable[Rule],
    watcher: str,
    domain: str,
    *,
    now: float | None = None,
    sphere: str = "",
    default: Handling = "block",
) -> Handling:
    """How a subscription is handled: the most that a matching rule allows, ``default`` when none says.

    ``watcher`` is the URI of who subscribes and ``domain`` his domain, both "" for somebody without an identity. Without
    ``now`` no rule with a validity matches, without ``sphere`` none with a sphere.
    """
    key = _key(watcher)
    found = {
        rule.handling
        for rule in rules
        if rule.handling is not None
        and (rule.identity is None or (bool(watcher) and _is_meant(rule.identity, key, domain.lower())))
        and (not rule.sphere or rule.sphere == sphere)
        and (not rule.validity or (now is not None and any(begin <= now < end for begin, end in rule.validity)))
    }
    return next((handling for handling in reversed(_ORDER) if handling in found), default)


def _is_meant(identity: Identity, key: str, domain: str) -> bool:
    if any(_key(one) == key for one in identity.ones):
        return True
    for many in identity.many:
        excepted = domain in (name.lower() for name in many.except_domains) or key in map(_key, many.except_ids)
        if not excepted and many.domain.lower() in ("", domain):
            return True
    return False


def _key(uri: str) -> str:
    """What URIs of the same user have in common."""
    try:
        return aor(parse_uri(uri))
    except SipParseError:
        return uri
