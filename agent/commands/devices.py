"""``devrec-agent devices``: the inputs that PortAudio offers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from agent.commands.common import console, print_json, reports_errors


@reports_errors
def devices(
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object a line instead of the table.")
    ] = False,
) -> None:
    """List the audio inputs that `listen --input` can take.

    The identity is what a configuration should use: it means the same input after a restart and
    after cards were plugged in another order; an index does not. With --json, `identity` is that
    one, or null, and `identities` are all that the input has, the most stable first.
    """
    from rich.table import Table
    from rich.text import Text

    from agent.capture.inputs import list_inputs, stable_identity
    from model.errors import CaptureError

    inputs = list_inputs()
    if json_lines:
        for device in inputs:
            values = asdict(device)
            identities = values.pop("identity")
            print_json(
                {**values, "identity": stable_identity(device, inputs), "identities": identities}
            )
        return
    if not inputs:
        raise CaptureError("PortAudio offers no audio input on this machine")
    table = Table(header_style="bold", pad_edge=False)
    for title in ("index", "name", "host API", "channels", "native rate"):
        table.add_column(title, justify="left" if title in ("name", "host API") else "right")
    table.add_column("identity", overflow="fold")  # there to be copied: never cut
    for device in inputs:
        table.add_row(
            str(device.index),
            Text(device.name + (" (default)" if device.is_default else "")),
            device.host_api,
            str(device.channels),
            f"{device.native_rate_hz} Hz",
            Text(stable_identity(device, inputs) or "-"),
        )
    console().print(table)
