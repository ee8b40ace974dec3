"""The metrics endpoint tells the agent's figures, to this machine alone unless told otherwise."""

from __future__ import annotations

import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from agent.config.settings import Config
from agent.live_figures import InputFigures
from agent.outlets.opening import open_outlets, state_folder
from agent.outlets.outlet import OutletQueue
from agent.outlets.prometheus import CONNECTIONS, PrometheusEndpoint
from model.errors import DevrecError, MissingDependencyError, UsageError
from tests.mosquitto import free_port, wait_until

parser = pytest.importorskip("prometheus_client.parser")

Metrics = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def opened(values: dict[str, Any], said: list[str], **how: Any) -> list[OutletQueue]:
    figures = how.pop("figures", list)
    return open_outlets(Config.model_validate(values), said.append, figures, **how)


def stop(queues: list[OutletQueue]) -> None:
    for queue in queues:
        queue.stop(time.monotonic() + 5)


def scrape(queues: list[OutletQueue]) -> Metrics:
    """All samples by name and labels."""
    endpoint = queues[-1].outlet
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
    values = {"jsonl": {"path": tmp_path / "e"}, "prometheus": {"port": 0}}
    queues = opened(values, said, figures=lambda: [mic, line], engine="ONNX", model="m.onnx")
    before = scrape(queues)
    mic.windows, mic.samples, mic.lost_samples, mic.overflows, mic.reconnects = 7, 48_000, 960, 2, 1
    mic.level_dbfs, mic.probability, mic.device = -23.5, 0.75, "Phone"
    mic.events["device_identified"] = 3
    for latency in (0.004, 0.03, 0.04, 9.0):
        mic.latency.add(latency)
    queues[0].offer({"event": "gap", "id": "1"})
    wait_until(lambda: queues[0].delivered == 1)
    after = scrape(queues)
    stop(queues)

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
    assert value(after, "devrec_outlet_delivered_total", outlet=queues[0].name) == 1
    assert value(after, "devrec_outlet_lost_total", outlet=queues[0].name) == 0
    assert value(after, "devrec_outlet_waiting", outlet=queues[0].name) == 0
    build = {"version": __version__, "engine": "ONNX", "model": "m.onnx"}
    assert value(after, "devrec_build_info", **build) == 1
    assert not any(("outlet", queues[1].name) in labels for _, labels in after)
    assert not said


def test_spool_and_outlets_opened_elsewhere(tmp_path: Path) -> None:
    mqtt = {"host": "127.0.0.1", "port": free_port(), "tls": False, "spool": tmp_path / "s"}
    others = opened({"mqtt": mqtt}, [])
    queues = opened({"prometheus": {"port": 0}}, [], other_queues=lambda: [*others, *queues])
    others[0].offer({"event": "gap", "id": "1"})
    label = (("outlet", others[0].name),)
    wait_until(lambda: scrape(queues)[("devrec_spool_events", label)] == 1)
    assert scrape(queues)[("devrec_outlet_waiting", label)] == 1
    assert scrape(queues)[("devrec_outlet_delivered_total", label)] == 0
    stop([*others, *queues])


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = f"cannot listen on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(DevrecError, match=message):
            opened({"prometheus": {"port": port}}, [])


@pytest.mark.parametrize("address", ["192.0.2.1", "no.such.host.invalid", f"{'x' * 70}.lab"])
def test_address_of_another_machine(address: str) -> None:
    with pytest.raises(DevrecError) as caught:
        opened({"prometheus": {"address": address, "port": 0}}, [])
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError) or "cannot listen" in str(caught.value)


@pytest.mark.parametrize(("address", "warned"), [("0.0.0.0", 1), ("127.0.0.1", 0), ("::1", 0)])
def test_others_can_read_only_where_that_was_asked_for(address: str, warned: int) -> None:
    said: list[str] = []
    try:
        queues = opened({"prometheus": {"address": address, "port": 0}}, said)
    except DevrecError:
        pytest.skip(f"this machine has no {address}")
    stop(queues)
    assert len(said) == warned
    assert all("other machines can read the metrics" in line for line in said)


def test_nothing_is_left_behind() -> None:
    threads, files = threading.active_count(), len([*Path("/proc/self/fd").iterdir()])
    port = free_port()
    queues = opened({"prometheus": {"port": port}}, [])
    scrape(queues)
    # Clients that connect and send nothing, more than there is room for.
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS + 4)]
    wait_until(lambda: threading.active_count() >= threads + CONNECTIONS)
    began = time.monotonic()
    stop(queues)
    assert time.monotonic() - began < 2
    assert threading.active_count() == threads
    for client in idle:
        client.close()
    assert len([*Path("/proc/self/fd").iterdir()]) == files
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free at once


def test_outlets_are_opened_all_or_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        values = {
            "jsonl": {"path": tmp_path / "e"},
            "hook": {"command": ["true"]},
            "mqtt": {"host": "127.0.0.1", "port": free_port(), "spool": tmp_path / "spool"},
            "prometheus": {"port": other.getsockname()[1]},
        }
        threads = threading.active_count()
        with pytest.raises(DevrecError, match="Address already in use"):
            opened(values, [])
        wait_until(lambda: threading.active_count() == threads)
    values["prometheus"] = {"port": 0}
    queues = opened(values, [])  # no lock was left behind
    stop(queues)
    assert len(queues) == 4


def test_folder_for_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/edge")
    assert state_folder({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    assert state_folder({"XDG_STATE_HOME": "/state"}) == Path("/state/devrec-agent")
    assert state_folder({"XDG_STATE_HOME": "state"}) == Path("/home/edge/.local/state/devrec-agent")


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
        opened(values, [])
