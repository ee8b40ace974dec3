"""The option that names a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GalleryOption = Annotated[
    Path | None,
    typer.Option(
        "--gallery",
        "-g",
        envvar="DEVREC_AGENT_GALLERY",
        metavar="FOLDER",
        help="Folder of enrolled devices; ~/.local/share/devrec-agent/gallery without it.",
        show_default=False,
    ),
]
