"""Puts address-book files together for a process."""

from __future__ import annotations

from pathlib import Path

from parley.addressbook.errors import NumberRuleError
from parley.addressbook.files.layout import layout
from parley.addressbook.numbers.company_rules import parse_company_rules
from parley.platform.config import ConfigError
from parley.platform.lifecycle import ServiceContext
from parley.proto.addressbook.v1.book_files_pb2_grpc import add_AddressBookFilesServicer_to_server
from services.addressbook.blobs import BlobStore
from services.addressbook.files.config import FilesConfig
from services.addressbook.files.making import Entries, FileMaker
from services.addressbook.files.manifest import Manifest
from services.addressbook.files.runs import FileRuns
from services.addressbook.files.service import NAME, BookFilesSurface


def add_book_files(context: ServiceContext, config: FilesConfig, entries: Entries) -> FileRuns | None:
    """Puts the gRPC surface up; gives what makes files, None when none are made. Raises ConfigError."""
    blobs = BlobStore(context.store, context.clock, "files")
    manifest = Manifest(context.store, context.clock, blobs.registry)
    runs = None
    if config.layout != "off":
        rules = rules_of(config.company_rules) if config.company_rules is not None else b""
        maker = FileMaker(entries, blobs, manifest, context.clock, config, layout(unconfirmed=True), rules=rules)
        runs = FileRuns(maker, manifest, blobs, context.store, context.clock, config, context.tracer)
    surface = BookFilesSurface(context.store, manifest, blobs, runs, context.tasks.once)
    context.rpc.add_service(add_AddressBookFilesServicer_to_server, surface, NAME, context.tracer)
    return runs


def rules_of(path: Path) -> bytes:
    """The rules of a file as they are written into address-book files. Raises ConfigError."""
    where = "addressbook.files.company_rules"
    try:
        rules, problems = parse_company_rules(path.expanduser().read_bytes())
    except OSError as error:
        raise ConfigError([f"{where}: cannot read {path}: {error.strerror}"]) from None
    except NumberRuleError as error:
        raise ConfigError([f"{where}: {path}: {error}"]) from None
    if problems:
        raise ConfigError([f"{where}: {path}: {problem}" for problem in problems])
    return bytes(rules)
