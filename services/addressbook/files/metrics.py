"""What is counted of address-book files."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

RUNS: Final = Counter("parley_book_files_runs_total", "Runs that made address-book files, by outcome", ["outcome"])
SECONDS: Final = Gauge("parley_book_files_seconds", "How long the last run took that succeeded here")
MADE_AT: Final = Gauge(
    "parley_book_files_made_timestamp_seconds", "When the files were made that there are; 0: there are none"
)
FILES: Final = Gauge("parley_book_files", "Address-book files there are")
BYTES: Final = Gauge("parley_book_files_bytes", "Bytes of all address-book files, before they are packed")
READ: Final = Counter("parley_book_files_read_bytes_total", "Bytes of address-book files that were read")
SWEPT: Final = Counter("parley_blobs_swept_total", "Files removed that nobody referred to any more, by area", ["area"])
