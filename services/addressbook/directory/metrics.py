"""What is counted of the directory."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SEARCHES: Final = Counter("parley_directory_searches_total", "Searches in the directory", ["outcome"])
SEARCH_SECONDS: Final = Histogram("parley_directory_search_duration_seconds", "Time of a search in the directory")
EXPANSIONS: Final = Counter("parley_directory_expansions_total", "Expansions of groups", ["result"])
IMPORTED: Final = Counter(
    "parley_directory_imported_total", "Entries that imports and syncs read, by source and what came of them",
    ["source", "outcome"],
)  # fmt: skip
SYNCS: Final = Counter("parley_directory_syncs_total", "Looks at directory servers", ["source", "outcome"])
SYNCED_AT: Final = Gauge(
    "parley_directory_last_sync_timestamp_seconds", "When a directory server was last read without failing", ["source"]
)
PASSWORDS: Final = Counter("parley_directory_password_checks_total", "Checks of passwords", ["against", "outcome"])
