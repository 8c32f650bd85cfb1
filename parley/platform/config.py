"""Configuration: one typed model for each service, read from a YAML file and the environment.

The file has a section for each service and one named ``platform``. A variable ``PARLEY_<SECTION>_<FIELD>`` (nested fields
joined by two underscores) overrides the file. A secret may be given as ``<field>_file``, the path of a file that holds it.
A key nobody knows is an error at start that names the nearest known one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from parley.platform.addresses import with_brackets

SHORT_NAMES: Final[dict[str, tuple[str, str]]] = {
    "PARLEY_BIND": ("platform", "bind"),
    "PARLEY_DATA": ("platform", "data"),
    "PARLEY_DEMO_PASSWORD": ("addressbook", "demo_password"),
    "PARLEY_EDGE_UID": ("frontend", "edge_uid"),
    "PARLEY_CONFIG": ("", ""),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("platform", "otlp_endpoint"),
}
"""Variables with a name of their own, and the key each one sets; PARLEY_CONFIG names the file itself."""

IGNORED: Final = frozenset({"PARLEY_CACHE"})
"""Variables of the tools around the project."""


class ConfigError(Exception):
    """What is wrong with the configuration, all of it, one problem a line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Section(BaseModel):
    """Base of every section: unknown keys are refused, defaults are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def is_local(address: str) -> bool:
    """Whether an address to listen on is reached from this machine alone: unix:/path, or a loopback host:port."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return address.startswith("unix:") or ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RpcTls(Section):
    """Mutual TLS between services."""

    certificate: Path = Field(description="PEM file with this process's certificate")
    key: Path = Field(description="PEM file with its key")
    ca: Path = Field(description="PEM file with the CA that signed the certificates of all services")
    server_name: str = Field(
        default="",
        description="Name that the certificates of other processes must have; empty: the one they are reached by",
    )


class RpcConfig(Section):
    """Calls between services."""

    listen: list[str] = Field(default=[], description="Addresses to serve gRPC on: host:port or unix:/path")
    advertise: Annotated[str, AfterValidator(with_brackets)] = Field(
        default="",
        description="Address at which other processes reach the first of `listen`, host:port; brackets around an address "
        "of IPv6 may be left out",
    )
    targets: dict[str, str] = Field(
        default={}, description="Where other services are, by name: registrar: dns:///parley-registrar:9090"
    )
    tls: RpcTls | None = Field(default=None, description="Certificates for mutual TLS; none: no TLS")
    allow_plaintext: bool = Field(
        default=False,
        description="Serve without TLS beyond loopback too: anybody who reaches the port can do anything",
    )

    @model_validator(mode="after")
    def _is_not_open_to_anybody(self) -> RpcConfig:
        if self.tls is None and not self.allow_plaintext:
            for address in self.listen:
                if not is_local(address):
                    raise ValueError(
                        f"{address} would take calls of anybody, unencrypted: set platform.rpc.tls, "
                        "or platform.rpc.allow_plaintext where nobody else reaches it"
                    )
        return self


class ClientTls(Section):
    """TLS to a server that is not Parley's."""

    ca: Path | None = Field(
        default=None,
        description="PEM file with the CA that signed the server's certificate; empty: the system's authorities",
    )
    certificate: Path | None = Field(default=None, description="PEM file with a certificate to show, where one is demanded")
    key: Path | None = Field(default=None, description="PEM file with its key")
    server_name: str = Field(
        default="", description="Name that the server's certificate must have; empty: the one it is reached by"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> ClientTls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: set both, or none")
        return self


class RedisConfig(Section):
    """The store."""

    url: str = Field(
        default="",
        description="redis://host:port/0, rediss:// for TLS, or unix:///path; empty: a bundled Valkey is started",
    )
    sentinels: list[str] = Field(default=[], description="host:port of Sentinels, in place of `url`")
    master: str = Field(default="mymaster", description="Name that the Sentinels know the master by")
    cluster: bool = Field(default=False, description="`url` names a node of a Redis Cluster")
    username: str = Field(default="", description="User of the server (ACL); empty: `default`")
    password: SecretStr = Field(default=SecretStr(""), description="Password of the server")
    sentinel_username: str = Field(default="", description="User of the Sentinels; empty: `default`")
    sentinel_password: SecretStr = Field(default=SecretStr(""), description="Password of the Sentinels, if they have one")
    tls: ClientTls | None = Field(
        default=None, description="TLS to the server, and to Sentinels and all nodes of a cluster; `{}`: with the defaults"
    )
    replicas: int = Field(default=0, ge=0, description="Replicas that must have fsynced a durable write too")


class EventsConfig(Section):
    """Facts between services."""

    driver: Literal["redis", "kafka"] = Field(default="redis", description="Redis Streams, or Kafka")
    kafka_servers: list[str] = Field(default=[], description="host:port of Kafka brokers")
    kafka_tls: ClientTls | None = Field(default=None, description="TLS to the brokers; `{}`: with the defaults")
    kafka_username: str = Field(default="", description="Name to sign in to the brokers with (SASL); empty: no signing in")
    kafka_password: SecretStr = Field(default=SecretStr(""), description="Password of that name")
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to sign in"
    )
    partitions: int = Field(default=8, ge=1, le=256, description="Partitions of topics that are created")
    replication: int = Field(default=1, ge=1, le=9, description="Replicas of Kafka topics that are created")
    retention: int = Field(default=100_000, ge=100, description="Events kept for each partition on Redis Streams")


class LogConfig(Section):
    """Log output."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level written")
    format: Literal["auto", "json", "text"] = Field(default="auto", description="auto: text on a terminal, else JSON")


class PlatformConfig(Section):
    """What every process needs."""

    data: Path = Field(default=Path("~/.local/share/parley"), description="Folder for data, certificates and keys")
    bind: str = Field(default="127.0.0.1", description="Address that listeners open on unless they name one")
    master_key: SecretStr = Field(
        default=SecretStr(""),
        description="64 hex digits all keys are derived from; empty: made and kept with the data",
    )
    otlp_endpoint: str = Field(
        default="", description="Where traces go (OTLP over gRPC), as http://host:4317; empty: nowhere"
    )
    trace_ratio: float = Field(default=1.0, ge=0, le=1, description="Share of new traces that are kept")
    metrics_port: int = Field(default=9464, ge=0, le=65535, description="Port of /metrics, /livez and /readyz")
    health_port: int = Field(
        default=-1, ge=-1, le=65535,
        description="Port of the gRPC health service without TLS, for probes of Kubernetes; 0: a free one, -1: none",
    )  # fmt: skip
    drain_seconds: float = Field(default=30.0, ge=0, description="Longest time a drain may take")
    redis: RedisConfig = Field(default=RedisConfig(), description="The store")
    events: EventsConfig = Field(default=EventsConfig(), description="Facts between services")
    rpc: RpcConfig = Field(default=RpcConfig(), description="Calls between services")
    log: LogConfig = Field(default=LogConfig(), description="Log output")

    @property
    def data_folder(self) -> Path:
        """`data` with the home folder filled in."""
        return self.data.expanduser()


ModelT = TypeVar("ModelT", bound=Section)


class Settings:
    """The file and the environment, read once; sections are taken from it with `section`."""

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        """Raises ConfigError when the file cannot be read or is no mapping of sections."""
        self.path = path
        self._environ = dict(environ)
        self._file = _read_file(path) if path is not None else {}

    @property
    def section_names(self) -> list[str]:
        """The sections that the file has."""
        return list(self._file)

    def section(self, name: str, model: type[ModelT]) -> ModelT:
        """A section as its model. Raises ConfigError with everything that is wrong with it."""
        raw = self._file.get(name) or {}
        if not isinstance(raw, dict):
            raise ConfigError([f"{name}: must be a mapping of keys to values"])
        data = json.loads(json.dumps(raw, default=str))
        problems = self._apply_environment(name, model, data)
        problems += _read_secret_files(name, model, data)
        try:
            section = model.model_validate(data)
        except ValidationError as error:
            raise ConfigError(problems + [_explain(name, model, item) for item in error.errors()]) from None
        if problems:
            raise ConfigError(problems)
        return section

    def check_sections(self, known: Iterable[str]) -> None:
        """Raises ConfigError for sections of the file, and variables, that belong to nothing."""
        names = list(known)
        problems = [_unknown("section", name, names, str(self.path)) for name in self._file if name not in names]
        prefixes = tuple(f"PARLEY_{name.upper()}_" for name in names)
        for variable in self._environ:
            if not variable.startswith("PARLEY_") or variable in SHORT_NAMES or variable in IGNORED:
                continue
            if not variable.startswith(prefixes):
                problems.append(_unknown("variable", variable, [*SHORT_NAMES, *prefixes], "the environment"))
        if problems:
            raise ConfigError(problems)

    def _apply_environment(self, section: str, model: type[Section], data: dict[str, Any]) -> list[str]:
        problems: list[str] = []
        for variable, (target, field) in SHORT_NAMES.items():
            if target == section and self._environ.get(variable):
                data[field] = self._environ[variable]
        prefix = f"PARLEY_{section.upper()}_"
        for variable, value in self._environ.items():
            if not variable.startswith(prefix) or variable in SHORT_NAMES:
                continue
            path = variable.removeprefix(prefix).lower().split("__")
            problem = _set(model, data, path, value, variable)
            if problem:
                problems.append(problem)
        return problems


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError([f"cannot read {path}: {error.strerror or error}"]) from None
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError([f"{path} is no YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(content, dict):
        raise ConfigError([f"{path} must hold a section for each service, as `frontend:`"])
    return content


def _set(model: type[Section], data: dict[str, Any], path: list[str], value: str, variable: str) -> str:
    """Puts the value of a variable in its place; the problem when there is no such place."""
    known = _field_names(model)
    name = path[0]
    if name not in known:
        return _unknown("variable", variable, [f"{variable[: -len('__'.join(path))]}{key.upper()}" for key in known], "")
    if len(path) == 1:
        field = model.model_fields.get(name)
        data[name] = _from_text(value) if field is not None and _is_structured(field.annotation) else value
        return ""
    inner = _section_type(model.model_fields[name].annotation)
    if not isinstance(data.get(name), dict):
        data[name] = {}
    child = data[name]
    if inner is None:
        child["__".join(path[1:])] = value
        return ""
    return _set(inner, child, path[1:], value, variable)


def _from_text(value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _is_structured(annotation: Any) -> bool:
    text = str(annotation)
    return "list[" in text or "dict[" in text or _section_type(annotation) is not None


def _section_type(annotation: Any) -> type[Section] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _field_names(model: type[Section]) -> list[str]:
    names = list(model.model_fields)
    names += [f"{name}_file" for name, field in model.model_fields.items() if "SecretStr" in str(field.annotation)]
    return names


def _read_secret_files(where: str, model: type[Section], data: dict[str, Any]) -> list[str]:
    problems: list[str] = []
    for name, field in model.model_fields.items():
        inner = _section_type(field.annotation)
        if inner is not None and isinstance(data.get(name), dict):
            problems += _read_secret_files(f"{where}.{name}", inner, data[name])
        key = f"{name}_file"
        if "SecretStr" not in str(field.annotation) or key not in data:
            continue
        path = data.pop(key)
        try:
            data[name] = Path(str(path)).expanduser().read_text().strip()
        except OSError as error:
            problems.append(f"{where}.{key}: cannot read {path}: {error.strerror or error}")
    return problems


def _explain(section: str, model: type[Section], error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        parent: Any = model
        for part in error["loc"][:-1]:
            found = _section_type(parent.model_fields[part].annotation) if part in parent.model_fields else None
            parent = found or parent
        where = ".".join([section, *(str(part) for part in error["loc"][:-1])])
        return _unknown("key", str(error["loc"][-1]), _field_names(parent), where)
    where = f"{section}.{place}" if place else section
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _unknown(what: str, name: str, known: Iterable[str], where: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    text = f"unknown {what} '{name}'" + (f" in {where}" if where else "")
    return text + (f"; did you mean '{near[0]}'?" if near else "")


def describe(models: Mapping[str, type[Section]]) -> str:
    """A Markdown reference of all sections: key, default, meaning."""
    lines: list[str] = []
    for name, model in models.items():
        lines += [f"## `{name}`", "", (model.__doc__ or "").strip().split("\n")[0], ""]
        lines += ["| key | default | meaning |", "|---|---|---|", *_rows(model, ""), ""]
    return "\n".join(lines)


def _rows(model: type[Section], prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in model.model_fields.items():
        inner = _section_type(field.annotation)
        if inner is not None and "dict[" not in str(field.annotation) and "list[" not in str(field.annotation):
            rows += _rows(inner, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        rows.append(f"| `{prefix}{name}` | {default} | {(field.description or '').replace('|', '/')} |")
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr) or value in ("", None, [], {}):
        return "empty"
    if isinstance(value, list | dict):
        return f"`{json.dumps(value, default=str)}`"
    return f"`{value}`"
