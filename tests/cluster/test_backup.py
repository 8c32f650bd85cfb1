"""A snapshot of the embedded Valkey is taken and put back as docs/backup.md says."""

from __future__ import annotations

from secrets import token_hex

import pytest

from tests.support.cluster import CommandError
from tests.support.cluster_install import Installation
from tests.support.parley_server import DOMAIN

SNAPSHOT = "sh /etc/valkey/snapshot.sh | base64"
RESTORE = "base64 -d > /data/given; sh /etc/valkey/restore.sh < /data/given"
"""As the page has it, but that bytes pass as text."""
POD = "pod/parley-valkey-0"


def test_a_snapshot_brings_back_what_was_removed(parley: Installation) -> None:
    kept, later = f"kept{token_hex(3)}", f"later{token_hex(3)}"
    parley.make_users([kept])
    snapshot = parley.exec(POD, "sh", "-c", SNAPSHOT)
    parley.parley("addressbook", "user", "delete", "--yes", f"{kept}@{DOMAIN}")
    parley.make_users([later])
    parley.exec(POD, "sh", "-c", RESTORE, stdin=snapshot)
    parley.space.kubectl("delete", POD, "--wait=true")
    parley.sound()

    def back() -> bool:
        listing = parley.parley("addressbook", "--json", "user", "list")
        return f"{kept}@" in listing and f"{later}@" not in listing

    parley.cluster.wait_for("the users of the snapshot are there", back, timeout=60)
    assert "replaced-" in parley.exec(POD, "ls", "/data"), "what was there before is kept"
    parley.exec(POD, "sh", "-c", "rm -rf /data/replaced-* /data/given")


def test_what_is_no_snapshot_is_refused(parley: Installation) -> None:
    with pytest.raises(CommandError, match="this is no snapshot"):
        parley.exec(POD, "sh", "/etc/valkey/restore.sh", stdin="hello")
    with pytest.raises(CommandError, match="not whole"):
        parley.exec(POD, "sh", "-c", "sh /etc/valkey/snapshot.sh | head -c 200 | sh /etc/valkey/restore.sh")
    assert not {"restore", "snapshot"} & {name.partition(".")[0] for name in parley.exec(POD, "ls", "/data").split()}
