"""What is installed: services, and the configuration that they have together.

Services are found by entry points of the group ``parley.services``, their sections of the configuration by
``parley.sections``, so this module knows none of them, and a process loads the code of its own services alone. A command
that talks to a running Parley needs this, and none of what runs services.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from parley.platform.config import ConfigError, PlatformConfig, Section, Settings

RUN_FILE: Final = "run.json"
"""Where a running process says how it is reached, in its data folder."""


def service_names() -> list[str]:
    """The installed services."""
    return sorted(point.name for point in entry_points(group="parley.services"))


def service_class(name: str) -> Any:
    """An installed service, whose code is loaded now. Raises KeyError for an unknown one."""
    return entry_points(group="parley.services")[name].load()


def config_models() -> dict[str, type[Section]]:
    """The sections of the configuration and their models; no service is loaded for them."""
    models: dict[str, type[Section]] = {"platform": PlatformConfig}
    models.update({point.name: point.load() for point in sorted(entry_points(group="parley.sections"))})
    return models


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The configuration, checked whole. Raises ConfigError with every problem of every section."""
    if path is None and environ.get("PARLEY_CONFIG"):
        path = Path(environ["PARLEY_CONFIG"])
    settings = Settings(path, environ)
    problems: list[str] = []
    models = config_models()
    try:
        settings.check_sections(models)
    except ConfigError as error:
        problems += error.problems
    for name, model in models.items():
        try:
            settings.section(name, model)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return settings
