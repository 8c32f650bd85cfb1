"""Configuration, keys, certificates, logs, limits: what a wrong value says, what survives."""

from __future__ import annotations

import datetime
import io
import json
import logging
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from pydantic import ValidationError

from parley.ntlm.md4 import md4, nt_hash
from parley.platform.config import ConfigError, PlatformConfig, RpcConfig, RpcTls, Settings
from parley.platform.installed import config_models, load_settings, service_class, service_names
from parley.platform.keys import derive_key, load_or_create_master_key, parse_master_key
from parley.platform.telemetry.logs import JsonFormatter
from parley.platform.telemetry.redaction import redact
from parley.platform.telemetry.tracing import NO_TRACER, parse_traceparent
from parley.platform.tls import DevelopmentCa, ServerTls


def settings(tmp_path: Path, text: str = "", **environ: str) -> Settings:
    file = tmp_path / "parley.yaml"
    file.write_text(text)
    return Settings(file, environ)


def test_environment_overrides_the_file_and_nests(tmp_path: Path) -> None:
    found = settings(
        tmp_path, "platform: {metrics_port: 1, rpc: {listen: ['localhost:1']}}", PARLEY_PLATFORM_METRICS_PORT="2",
        PARLEY_PLATFORM_RPC__TARGETS="{registrar: 'r:1'}", PARLEY_BIND="0.0.0.0", PARLEY_PLATFORM_REDIS__URL="redis://h",
    ).section("platform", PlatformConfig)  # fmt: skip
    assert (found.metrics_port, found.bind, found.rpc.listen) == (2, "0.0.0.0", ["localhost:1"])
    assert (found.rpc.targets, found.redis.url) == ({"registrar": "r:1"}, "redis://h")


@pytest.mark.parametrize(
    ("text", "environ", "problem"),
    [
        ("platform: {bnid: x}", {}, "unknown key 'bnid' in platform; did you mean 'bind'?"),
        ("platform: {redis: {ulr: x}}", {}, "unknown key 'ulr' in platform.redis; did you mean 'url'?"),
        ("platform: {metrics_port: 99999}", {}, "platform.metrics_port: Input should be less than or equal to 65535"),
        ("platform: 5", {}, "platform: must be a mapping of keys to values"),
        ("", {"PARLEY_PLATFORM_BNID": "x"}, "unknown variable 'PARLEY_PLATFORM_BNID'; did you mean 'PARLEY_PLATFORM_BIND'?"),
        ("platform: {master_key_file: /nonexistent}", {}, "platform.master_key_file: cannot read /nonexistent"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, environ: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        settings(tmp_path, text, **environ).section("platform", PlatformConfig)
    assert problem in str(wrong.value)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "parley-registrar:1", "1", ":1"])
def test_calls_are_not_taken_from_others_unencrypted_unless_allowed(address: str) -> None:
    tls = {"certificate": "a", "key": "b", "ca": "c"}
    with pytest.raises(ValidationError, match=r"would take calls of anybody, unencrypted: set platform\.rpc\.tls"):
        RpcConfig(listen=["127.0.0.1:1", address])
    for allowed in (RpcConfig(listen=[address], allow_plaintext=True), RpcConfig(listen=[address], tls=RpcTls(**tls))):
        assert allowed.listen == [address]


def test_calls_are_taken_unencrypted_from_this_machine() -> None:
    here = ["unix:/run/parley.sock", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1"]
    assert RpcConfig(listen=here).listen == here


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "parley.yaml"
    file.write_text("frontend: {domain: x}\nregistrar: {max: 1}\nregistra: {}\n")
    with pytest.raises(ConfigError) as wrong:
        load_settings(file, {"PARLEY_FRONTED_X": "1"})
    assert len(wrong.value.problems) == 4


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    found = settings(tmp_path, f"platform: {{redis: {{password_file: {secret}}}}}").section("platform", PlatformConfig)
    assert found.redis.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("text", ["a: [", "- x", "just words"])
def test_files_that_are_no_configuration(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        settings(tmp_path, text)


def test_every_service_has_its_section() -> None:
    models = config_models()
    assert {name: service_class(name).config_model for name in service_names()} | {"platform": PlatformConfig} == models


def test_the_configuration_is_checked_without_the_code_of_services() -> None:
    code = (
        "import sys; from parley.platform.installed import load_settings; load_settings(None, {})\n"
        "print([name for name in sys.modules if name.startswith('services.') and name.endswith('.main')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_defaults_are_right() -> None:
    for name, model in config_models().items():
        assert Settings(None, {}).section(name, model)


def test_master_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "k"
    key = load_or_create_master_key(path)
    assert load_or_create_master_key(path) == key
    assert path.stat().st_mode & 0o077 == 0
    assert derive_key(key, "a") != derive_key(key, "b")
    with pytest.raises(ValueError, match="64 hex digits"):
        parse_master_key("abc")


def test_development_ca_issues_keeps_and_renews(tmp_path: Path) -> None:
    ca = DevelopmentCa(tmp_path)
    files = ca.issue("server", ["example.test", "127.0.0.1"])
    first = files.certificate.read_bytes()
    assert ca.issue("server", ["127.0.0.1"]).certificate.read_bytes() == first
    assert ca.issue("server", ["other.test"]).certificate.read_bytes() != first
    assert files.key.stat().st_mode & 0o077 == 0
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=398)


def test_a_changed_certificate_is_read_again_and_a_broken_one_is_not(tmp_path: Path) -> None:
    ca = DevelopmentCa(tmp_path)
    files = ca.issue("server", ["a.test"])
    server = ServerTls(files)
    assert server.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not server.reload_if_changed()
    whole = files.certificate.read_bytes()
    files.certificate.write_bytes(b"broken")
    assert not server.reload_if_changed()
    files.certificate.write_bytes(whole)
    assert server.reload_if_changed()


def test_log_lines_are_json_and_hold_no_secret() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("frontend"))
    logger = logging.getLogger("test.redaction")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning('got response="8ca523" password=hunter2', extra={"call_id": "c1", "edge": "e"})
    line = json.loads(stream.getvalue())
    assert (line["service"], line["level"], line["call_id"], line["edge"]) == ("frontend", "warning", "c1", "e")
    assert "8ca523" not in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert redact("Authorization: Digest x\nVia: y") == "Authorization: [redacted]\nVia: y"


@pytest.mark.parametrize(
    "text", ["", None, "x", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "01-" + "a" * 32 + "-" + "b" * 16 + "-01"]
)
def test_foreign_trace_context_is_checked(text: str | None) -> None:
    assert parse_traceparent(text) is None


def test_tracing_that_is_off_makes_nothing() -> None:
    with NO_TRACER.start("x") as outer, NO_TRACER.start("y") as inner:
        assert outer is inner
        assert outer.traceparent == ""


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
    ],
)
def test_md4_vectors_of_rfc_1320(text: bytes, digest: str) -> None:
    assert md4(text).hex() == digest


def test_nt_hash_vector() -> None:
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"
