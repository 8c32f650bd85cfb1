"""What is counted of device updates."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

CHECKS: Final = Counter(
    "parley_device_checks_total", "Requests of devices for updates: with an update, without one, refused", ["outcome"]
)
CHANGES: Final = Counter("parley_device_update_changes_total", "What administrators did with updates", ["change"])
UPLOADS: Final = Counter(
    "parley_device_uploads_total", "Files of updates and logs of devices, by outcome", ["kind", "outcome"]
)
READ: Final = Counter("parley_device_read_bytes_total", "Bytes of files of updates that were read")
AUDIT_DROPPED: Final = Counter(
    "parley_device_audit_dropped_total", "Requests of devices that are not in the audit log, as that of the day is full"
)
