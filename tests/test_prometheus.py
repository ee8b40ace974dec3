"""The metrics endpoint tells the agent's figures, to this machine alone unless told otherwise."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from agent.live_figures import InputFigures
from agent.outlets.opening import state_folder
from agent.outlets.outlet import OutletQueue
from agent.outlets.prometheus import CONNECTIONS, PrometheusEndpoint
from model.errors import ConfigError, DevrecError, MissingDependencyError
from tests.mosquitto import free_port, wait_until
from tests.outlet_rig import NOTHING, open_one

parser = pytest.importorskip("prometheus_client.parser")

Metrics = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def opened(values: dict[str, Any], said: list[str], **context: Any) -> OutletQueue:
    return open_one({"prometheus": values}, said.append, replace(NOTHING, **context))


def stop(*queues: OutletQueue) -> None:
    for queue in queues:
        queue.stop(time.monotonic() + 5)


def scrape(queue: OutletQueue) -> Metrics:
    """All samples by name and labels."""
    endpoint = queue.outlet
    assert isinstance(endpoint, PrometheusEndpoint)
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_at_the_time_of_the_scrape(tmp_path: Path) -> None:
    mic, line = InputFigures("mic", state="running"), InputFigures("line")
    said: list[str] = []
    lines = open_one({"jsonl": {"path": tmp_path / "e"}}, said.append)
    engine, evidence = "TensorRT", (0, 0)
    queue = opened(
        {"port": 0},
        said,
        figures=lambda: [mic, line],
        queues=lambda: [lines, queue],
        engine=lambda: engine,
        model=lambda: "m.onnx",
        evidence=lambda: evidence,
    )
    before = scrape(queue)
    engine, evidence = "ONNX", (3, 1)  # as after another configuration was read
    mic.windows, mic.samples, mic.lost_samples, mic.overflows, mic.reconnects = 7, 48_000, 960, 2, 1
    mic.level_dbfs, mic.probability, mic.device = -23.5, 0.75, "Phone"
    mic.events["device_identified"] = 3
    for latency in (0.004, 0.03, 0.04, 9.0):
        mic.latency.add(latency)
    lines.offer({"event": "gap", "id": "1"})
    wait_until(lambda: lines.delivered == 1)
    after = scrape(queue)
    stop(lines, queue)

    def value(metrics: Metrics, name: str, **labels: str) -> float | None:
        return metrics.get((name, tuple(sorted(labels.items()))))

    assert value(before, "devrec_windows_total", input="mic") == 0
    assert value(before, "devrec_level_dbfs", input="line") == float("-inf")
    assert value(before, "devrec_probability", input="mic") is None
    for name, expected in {
        "devrec_windows_total": 7,
        "devrec_samples_total": 48_000,
        "devrec_lost_samples_total": 960,
        "devrec_overflows_total": 2,
        "devrec_reconnects_total": 1,
        "devrec_level_dbfs": -23.5,
        "devrec_probability": 0.75,
        "devrec_latency_seconds_count": 4,
        "devrec_latency_seconds_sum": pytest.approx(9.074),
    }.items():
        assert value(after, name, input="mic") == expected, name
    buckets = {
        bound: value(after, "devrec_latency_seconds_bucket", input="mic", le=bound)
        for bound in ("0.01", "0.02", "0.05", "5.0", "+Inf")
    }
    assert buckets == {"0.01": 1, "0.02": 1, "0.05": 3, "5.0": 3, "+Inf": 4}
    assert value(after, "devrec_input_state", input="mic", state="running") == 1
    assert value(after, "devrec_input_state", input="mic", state="stalled") == 0
    assert value(after, "devrec_input_state", input="line", state="starting") == 1
    assert value(after, "devrec_device", input="mic", device="Phone") == 1
    assert value(after, "devrec_events_total", input="mic", event="device_identified") == 3
    assert value(after, "devrec_outlet_delivered_total", outlet=lines.name) == 1
    assert value(after, "devrec_outlet_lost_total", outlet=lines.name) == 0
    assert value(after, "devrec_outlet_waiting", outlet=lines.name) == 0
    build = {"version": __version__, "engine": "ONNX", "model": "m.onnx"}
    assert value(after, "devrec_build_info", **build) == 1
    assert value(before, "devrec_build_info", **{**build, "engine": "TensorRT"}) == 1
    assert value(after, "devrec_evidence_written_total") == 3
    assert value(after, "devrec_evidence_lost_total") == 1
    assert not any(("outlet", queue.name) in labels for _, labels in after)
    assert not said


def test_events_that_wait_in_a_spool(tmp_path: Path) -> None:
    values = {"host": "127.0.0.1", "port": free_port(), "tls": False, "spool": tmp_path / "s"}
    mqtt = open_one({"mqtt": values}, print)
    queue = opened({"port": 0}, [], queues=lambda: [mqtt])
    mqtt.offer({"event": "gap", "id": "1"})
    label = (("outlet", mqtt.name),)
    wait_until(lambda: scrape(queue)[("devrec_spool_events", label)] == 1)
    assert scrape(queue)[("devrec_outlet_waiting", label)] == 1
    assert scrape(queue)[("devrec_outlet_delivered_total", label)] == 0
    stop(mqtt, queue)


def test_scrape_that_fails_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    def figures() -> list[InputFigures]:
        raise RuntimeError("a mistake of ours")

    said: list[str] = []
    queue = opened({"port": 0}, said, figures=figures)
    for _ in range(2):
        with pytest.raises(http.client.RemoteDisconnected):
            scrape(queue)
    stop(queue)
    assert said == [f"{queue.name}: a scrape failed: RuntimeError: a mistake of ours"]
    assert capfd.readouterr().err == ""


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = f"cannot listen on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(DevrecError, match=message):
            opened({"port": port}, [])


@pytest.mark.parametrize("address", ["192.0.2.1", "no.such.host.invalid", f"{'x' * 70}.lab"])
def test_address_of_another_machine(address: str) -> None:
    with pytest.raises(DevrecError) as caught:
        opened({"address": address, "port": 0}, [])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1  # which a service manager tries again


@pytest.mark.parametrize(("address", "warned"), [("0.0.0.0", 1), ("127.0.0.1", 0), ("::1", 0)])
def test_others_can_read_only_where_that_was_asked_for(address: str, warned: int) -> None:
    said: list[str] = []
    try:
        queue = opened({"address": address, "port": 0}, said)
    except DevrecError:
        pytest.skip(f"this machine has no {address}")
    stop(queue)
    assert len(said) == warned
    assert all("other machines can read the metrics" in line for line in said)


def test_nothing_is_left_behind() -> None:
    threads, files = threading.active_count(), len([*Path("/proc/self/fd").iterdir()])
    port = free_port()
    queue = opened({"port": port}, [])
    scrape(queue)
    # Clients that connect and send nothing, more than there is room for.
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS + 4)]
    wait_until(lambda: threading.active_count() >= threads + CONNECTIONS)
    began = time.monotonic()
    stop(queue)
    assert time.monotonic() - began < 2
    assert threading.active_count() == threads
    for client in idle:
        client.close()
    assert len([*Path("/proc/self/fd").iterdir()]) == files
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free at once


def test_folder_for_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/edge")
    assert state_folder({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    assert state_folder({"XDG_STATE_HOME": "/state"}) == Path("/state/devrec-agent")
    assert state_folder({"XDG_STATE_HOME": "state"}) == Path("/home/edge/.local/state/devrec-agent")


def test_folder_for_state_of_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    with pytest.raises(ConfigError, match=r"mqtt\.spool: this user has no home folder"):
        state_folder({})


@pytest.mark.parametrize(
    ("package", "values"),
    [
        ("paho", {"mqtt": {"host": "127.0.0.1"}}),
        ("prometheus_client", {"prometheus": {"port": 0}}),
    ],
)
def test_package_that_is_not_installed(
    package: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"needs {package}, which is missing"):
        open_one(values, print)
