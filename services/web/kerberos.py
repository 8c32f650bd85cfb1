"""The key by which Kerberos tickets of HTTP are accepted."""

from __future__ import annotations

from pathlib import Path

from parley.platform.config import ConfigError
from parley.sipae.acceptor import TokenAcceptor
from parley.sipae.gss import GssAcceptor
from parley.sipae.keytab import service_in
from parley.sipae.principal import KerberosError
from services.web.config import WebConfig


def acceptor_of(config: WebConfig, host: str, data: Path) -> TokenAcceptor | None:
    """What accepts tickets; None without a keytab. ``host``: the name in tickets; ``data``: folder of the replay cache.

    Raises ConfigError when it cannot be.
    """
    kerberos = config.kerberos
    if kerberos.keytab is None:
        return None
    try:
        service = service_in(kerberos.keytab, kerberos.service_principal or f"HTTP/{host}")
        return GssAcceptor(kerberos.keytab, service, kerberos.replay_cache or data / "web-kerberos.rcache")
    except KerberosError as error:
        text = str(error).replace("frontend.communicator.kerberos", "web.kerberos")
        raise ConfigError([f"web.kerberos: {text}"]) from None


def realms_of(config: WebConfig) -> dict[str, str]:
    """SIP domains by realm."""
    named = config.kerberos.realms
    return {realm: domain.lower() for realm, domain in named.items()} or {d.upper(): d.lower() for d in config.domains}
