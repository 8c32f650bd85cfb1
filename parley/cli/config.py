"""``parley config``: is the configuration right, and what is in force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml

from parley.cli.session import Options, console, settings_of, show_json
from parley.platform.config import describe
from parley.platform.installed import config_models

app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)


@app.command()
def check(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Configuration file (YAML).")] = None,
) -> None:
    """Check a configuration file and the environment."""
    options: Options = context.obj
    options.config = file or options.config
    settings_of(options)
    if options.as_json:
        show_json({"ok": True})
    else:
        console.print("the configuration is right")


@app.command()
def show(context: typer.Context) -> None:
    """Show what is in force, defaults included; secrets are masked."""
    options: Options = context.obj
    settings = settings_of(options)
    content = {name: json.loads(settings.section(name, model).model_dump_json()) for name, model in config_models().items()}
    if options.as_json:
        show_json(content)
    else:
        console.print(yaml.safe_dump(content, sort_keys=False), markup=False)


@app.command()
def reference() -> None:
    """Print every key with its default and meaning, as Markdown."""
    print(describe(config_models()))
