"""``devrec-agent enroll``: a device from a few recordings, without training."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.common import (
    EngineOption,
    ModelOption,
    ThreadsOption,
    complain,
    console,
    open_engine,
    print_json,
    progress_console,
    reports_errors,
)
from agent.commands.gallery_option import GalleryOption

if TYPE_CHECKING:
    from agent.enrolment import EnrolmentClips
    from export.engine import Engine
    from model.enrolled_device import EnrolledClip, EnrolledDevice
    from model.gallery import Existing, Gallery


@reports_errors
def enroll(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call the device.", show_default=False)
    ],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Recordings that the device made (wav, flac, ogg, mp3), or folders of them.",
            show_default=False,
        ),
    ],
    gallery: GalleryOption = None,
    model: ModelOption = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add the recordings to those of the device.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put them in place of those of the device.")
    ] = False,
    json_object: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of the table.")
    ] = False,
    threads: ThreadsOption = 1,
    engine_choice: EngineOption = "auto",
) -> None:
    """Add a device to the gallery from a few recordings, in seconds and without training.

    The gallery keeps embeddings and features of the recordings, from which speech can be made
    again in part: treat it as you would the recordings. Of each, the first 10 minutes are used.

    Exit code 0 when every file was enrolled or was there already, 3 when one could not be used (the
    others still are), 4 for a model that cannot be used, 11 for a gallery that cannot, a name that
    is taken or impossible, or a recording of another device.
    """
    from agent.enrolment import recordings_in
    from agent.gallery_access import gallery_folder, identity_of, writing
    from model.builtin import BUILTIN_MODEL
    from model.enrolled_device import checked_name
    from model.errors import AudioError, UsageError
    from model.gallery import Gallery

    started = time.monotonic()
    if add and replace:
        raise UsageError("--add and --replace exclude each other")
    existing: Existing = "add" if add else "replace" if replace else "refuse"
    name, folder = checked_name(name), gallery_folder(gallery)
    recordings = recordings_in(files)
    engine = open_engine(model, threads, engine_choice)
    identity = identity_of(engine, model or BUILTIN_MODEL)
    before = Gallery.open(folder, identity)
    before.check_free(name, existing)
    found = _prepared(engine, recordings, before, name, existing)
    for path, why in (*found.left_out, *found.failed):
        complain(f"{path}: {why}")
    device = before.device(name)
    if found.usable:
        with writing(folder):
            # Opened again: others may have written while this one computed.
            device = Gallery.open(folder, identity).add(name, found.usable, existing)
        _warn(device, found.usable, engine.metadata.labels)
    seconds = time.monotonic() - started
    if json_object:
        print_json(_to_json(name, device, found, seconds))
    elif device is not None and found.usable:
        _show(device, found.usable, seconds)
    if found.failed:
        raise typer.Exit(AudioError.exit_code)


def _prepared(
    engine: Engine, recordings: list[Path], gallery: Gallery, name: str, existing: Existing
) -> EnrolmentClips:
    from rich.progress import Progress

    from agent.enrolment import enrol_clips

    screen = progress_console()
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("enrolling", total=len(recordings))
        return enrol_clips(
            engine, recordings, gallery, name, existing, progress=lambda: bar.advance(task)
        )


def _warn(device: EnrolledDevice, clips: list[EnrolledClip], labels: tuple[str, ...]) -> None:
    from agent.enrolment import LONGEST_CLIP_S, THIN_S
    from model.enrolled_device import name_key

    for clip in clips:
        if clip.duration_s >= LONGEST_CLIP_S:
            complain(f"{clip.source}: of a long recording the first {LONGEST_CLIP_S:g} s are used")
    if device.duration_s < THIN_S:
        complain(
            f"{device.name}: {device.duration_s:.1f} s of audio is thin: "
            f"--add more, to {THIN_S:g} s or beyond"
        )
    if name_key(device.name) in map(name_key, labels):
        complain(f"{device.name}: is also the name of one of the model's own devices")


def _to_json(
    name: str, device: EnrolledDevice | None, found: EnrolmentClips, seconds: float
) -> dict[str, Any]:
    from agent.enrolment import THIN_S
    from agent.gallery_view import clip_to_json, device_to_json

    return {
        **({"device": name} if device is None else device_to_json(device)),
        "thin": device is None or device.duration_s < THIN_S,
        "enrolled": [clip_to_json(clip) for clip in found.usable],
        "left_out": [{"file": str(path), "reason": why} for path, why in found.left_out],
        "failed": [{"file": str(path), "error": why} for path, why in found.failed],
        "seconds": round(seconds, 3),
    }


def _show(device: EnrolledDevice, clips: list[EnrolledClip], seconds: float) -> None:
    from rich.text import Text

    from agent.gallery_view import clips_table, counted

    terminal = console()
    terminal.print(clips_table(clips))
    duration = sum(clip.duration_s for clip in clips)
    told = f"{device.name}: {counted(len(clips), 'clip')}, {duration:.1f} s, enrolled"
    told += f" in {seconds:.1f} s"
    if len(device.clips) > len(clips):
        told += f"; {counted(len(device.clips), 'clip')}, {device.duration_s:.1f} s in all"
    terminal.print(Text(told), soft_wrap=True)
