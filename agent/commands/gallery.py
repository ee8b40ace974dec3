"""``devrec-agent gallery``: what is enrolled, and moving it from machine to machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.common import (
    EngineOption,
    ModelOption,
    ThreadsOption,
    console,
    open_engine,
    print_json,
    reports_errors,
)
from agent.commands.gallery_option import GalleryOption

gallery_app = typer.Typer(help="Devices that were enrolled with `enroll`.", no_args_is_help=True)


@gallery_app.command("list")
@reports_errors
def list_devices(
    gallery: GalleryOption = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object a device and line.")
    ] = False,
) -> None:
    """List the enrolled devices. Exit code 11 for a gallery that cannot be read."""
    from rich.text import Text

    from agent.gallery_access import gallery_folder
    from agent.gallery_view import device_to_json, devices_table
    from model.gallery import by_name
    from model.gallery_folder import read_devices

    folder = gallery_folder(gallery)
    devices = by_name(read_devices(folder))
    if json_lines:
        for device in devices:
            print_json(device_to_json(device))
    elif devices:
        console().print(devices_table(devices))
    else:
        console().print(Text(f"no device is enrolled in {folder}"), soft_wrap=True)


@gallery_app.command()
@reports_errors
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Device.", show_default=False)],
    gallery: GalleryOption = None,
    json_object: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of the table.")
    ] = False,
) -> None:
    """Show the recordings of a device. Exit code 11 when there is none of that name."""
    from rich.text import Text

    from agent.gallery_access import gallery_folder
    from agent.gallery_view import clip_to_json, clips_table, device_to_json
    from model.gallery_file import time_to_json
    from model.gallery_folder import read_devices

    [device] = read_devices(gallery_folder(gallery), [name])
    if json_object:
        clips = [clip_to_json(clip) for clip in device.clips]
        print_json({**device_to_json(device), "clips": clips})
        return
    terminal = console()
    terminal.print(Text(device.name, "bold cyan"))
    terminal.print(f"enrolled {time_to_json(device.created)}, {device.duration_s:.1f} s in all")
    terminal.print(f"updated  {time_to_json(device.updated)}")
    terminal.print(f"model    sha256 {device.model.sha256[:12]}")
    terminal.print(clips_table(device.clips))


@gallery_app.command()
@reports_errors
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Devices.", show_default=False)
    ],
    gallery: GalleryOption = None,
) -> None:
    """Remove devices: all of those named, or none if there is one that is not enrolled (exit code
    11). Damaged ones too."""
    from agent.gallery_access import gallery_folder, writing
    from model.gallery_folder import remove_devices, spelling
    from model.gallery_index import read_index

    folder = gallery_folder(gallery)
    spelling(folder, read_index(folder), names)  # before a folder is made to lock
    with writing(folder):
        removed = remove_devices(folder, names)
    for name in removed:
        print(f"{name}: removed")


@gallery_app.command("export")
@reports_errors
def export_devices(
    target: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write (.zip).", show_default=False)
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Devices; all of them without any."),
    ] = None,
    gallery: GalleryOption = None,
) -> None:
    """Write the gallery, or devices of it, into one file for `gallery import` elsewhere.

    It holds names of recordings without their folders, and features from which speech can be made
    again in part. Exit code 11 when a device is not there.
    """
    from agent.gallery_access import gallery_folder
    from agent.gallery_view import counted
    from model.gallery_archive import export_gallery

    exported = export_gallery(gallery_folder(gallery), target, names or [])
    print(f"{target}: {counted(len(exported), 'device')}")


@gallery_app.command("import")
@reports_errors
def import_devices(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `gallery export` wrote.", show_default=False),
    ],
    gallery: GalleryOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put devices in place of those of the same names.")
    ] = False,
) -> None:
    """Add the devices of an exported file to the gallery: all of them, or none (exit code 11).

    The file must come from the same model as the devices that are there.
    """
    from agent.gallery_access import gallery_folder, writing
    from model.gallery_archive import import_gallery

    folder = gallery_folder(gallery)
    with writing(folder):
        imported = import_gallery(folder, source, replace=replace)
    for name in imported:
        print(f"{name}: imported")


@gallery_app.command("re-enroll")
@reports_errors
def re_enroll_devices(
    gallery: GalleryOption = None,
    model: ModelOption = None,
    threads: ThreadsOption = 1,
    engine_choice: EngineOption = "auto",
) -> None:
    """Make the gallery one of this model: embeddings anew from the stored features.

    All devices or, where the model has another front end than theirs, none (exit code 11): then
    the recordings are needed again.
    """
    from agent.enrolment import embed
    from agent.gallery_access import gallery_folder, identity_of, writing
    from agent.gallery_view import counted
    from model.builtin import BUILTIN_MODEL
    from model.gallery import re_enroll
    from model.gallery_folder import read_devices

    folder = gallery_folder(gallery)
    if not read_devices(folder):  # before a folder is made to lock
        print(f"no device is enrolled in {folder}")
        return
    engine = open_engine(model, threads, engine_choice)
    identity = identity_of(engine, model or BUILTIN_MODEL)
    with writing(folder):
        changed = re_enroll(folder, identity, lambda features: embed(engine, features))
    if changed:
        print(f"{counted(len(changed), 'device')} enrolled anew")
    else:
        print("the gallery is this model's already")
