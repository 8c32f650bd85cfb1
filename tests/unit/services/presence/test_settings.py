"""Settings for clients: what holds where nothing is configured, and what the configuration makes of it."""

from __future__ import annotations

from services.presence.config import PresenceConfig

ALICE = "sip:alice@example.test"


def test_where_there_is_a_relay_clients_are_told_whom_to_ask_for_credentials() -> None:
    settings = PresenceConfig().settings_of(ALICE, relay=True)["ServerConfiguration"]
    assert settings["mrasUri"] == "sip:MRASLoc.example.test@example.test;gruu;opaque=srvr:MRAS"
    assert settings["ucPC2PCAVEncryption"] == "SupportEncryption"
    assert settings["focusFactoryUri"] == "sip:alice@example.test;gruu;opaque=app:conf:focusfactory"


def test_where_there_is_none_they_are_not() -> None:
    settings = PresenceConfig().settings_of(ALICE)["ServerConfiguration"]
    assert list(settings) == ["focusFactoryUri"]


def test_the_configuration_wins() -> None:
    config = PresenceConfig(
        settings={
            "*": {"ServerConfiguration": {"mrasUri": "", "ucPC2PCAVEncryption": "RequireEncryption"}},
            "example.test": {"ServerConfiguration": {"botSipUriForTestCall": "sip:echo@{domain}"}},
        }
    )
    settings = config.settings_of(ALICE, relay=True)["ServerConfiguration"]
    assert "mrasUri" not in settings
    assert settings["ucPC2PCAVEncryption"] == "RequireEncryption"
    assert settings["botSipUriForTestCall"] == "sip:echo@example.test"
