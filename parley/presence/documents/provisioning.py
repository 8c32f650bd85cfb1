"""In-band settings (MS-SIPREGE section 2.2.2): groups that a client asks for, and their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from parley.presence.documents.reading import read, required
from parley.presence.errors import BadDocument
from parley.xml import children

PROVISIONING_TYPE: Final = "application/vnd-microsoft-roaming-provisioning-v2+xml"
_ANSWER: Final = "http://schemas.microsoft.com/2006/09/sip/provisiongrouplist-notification"
MAX_GROUPS: Final = 64


def parse_groups(body: bytes) -> list[str]:
    """The groups that a client asks for. Raises BadDocument."""
    root = read(body, "provisioningGroupList")
    names = [required(element, "name") for element in children(root, "provisioningGroup")]
    if len(names) > MAX_GROUPS:
        raise BadDocument("too many groups")
    return list(dict.fromkeys(names))


def group_list(names: Iterable[str], settings: Mapping[str, Mapping[str, str]]) -> bytes:
    """The groups with their settings; one without settings is empty."""
    groups = []
    for name in names:
        rows = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in settings.get(name, {}).items())
        groups.append(
            f"<provisionGroup name={quoteattr(name)}>{rows}</provisionGroup>"
            if rows
            else f"<provisionGroup name={quoteattr(name)}/>"
        )
    return f'<provisionGroupList xmlns="{_ANSWER}">{"".join(groups)}</provisionGroupList>'.encode()
