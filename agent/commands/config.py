"""``devrec-agent config``: the configuration in effect, whether it is right, where it is."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from agent.commands.common import ConfigOption, complain, reports_errors

config_app = typer.Typer(no_args_is_help=True, help="Show and check the configuration.")


@config_app.command()
@reports_errors
def show(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object instead of TOML.")] = False,
) -> None:
    """Print every setting, its value, and where that comes from.

    The output is a configuration file that says the same. Secrets stand in files of their own, of
    which only the paths are shown. Exit code 10 for a wrong configuration.
    """
    from agent.config.loading import load_config
    from agent.config.merging import leaves
    from agent.config.schema import setting_name
    from agent.config.text import config_text

    loaded = load_config(config, {}, os.environ)
    for warning in loaded.warnings:
        complain(warning)
    if as_json:
        values = loaded.config.model_dump(mode="json")
        origins = {setting_name(at): str(loaded.origin(at)) for at in leaves(values)}
        files = [str(path) for path in loaded.files]
        text = json.dumps({"config": values, "origins": origins, "files": files}, indent=1)
    else:
        text = config_text(loaded.config, lambda at: str(loaded.origin(at)))
    typer.echo(text.encode(), nl=False)  # TOML is UTF-8, whatever the terminal is


@config_app.command()
@reports_errors
def check(config: ConfigOption = None) -> None:
    """Check the configuration, and that the files and folders it names can be used.

    Permissions are those of who runs this: run it as the user of the service. Exit code 0, or 10
    with one line for everything that is wrong.
    """
    from agent.config.checks import look_around
    from agent.config.file import shown
    from agent.config.loading import load_config
    from model.errors import ConfigError

    loaded = load_config(config, {}, os.environ)
    findings = look_around(loaded)
    for warning in (*loaded.warnings, *findings.warnings):
        complain(warning)
    if findings.problems:
        raise ConfigError(*findings.problems)
    for path in loaded.files or ["no file, defaults and variables"]:
        print(f"{shown(path)}: fine")


@config_app.command()
@reports_errors
def path(config: ConfigOption = None) -> None:
    """List the files that are read or absent; the last one has the last word."""
    from agent.config.file import shown
    from agent.config.loading import config_files

    for file in config_files(config, os.environ):
        print(f"{'read' if os.path.lexists(file) else 'absent'}\t{shown(file)}")
