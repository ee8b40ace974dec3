"""Only over TLS that holds, only with credentials that fit; nothing secret is ever said."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from model.errors import ConfigError
from tests.mosquitto import (
    Broker,
    Receiver,
    free_port,
    make_certificates,
    missing_parts,
    wait_until,
)
from tests.mqtt_rig import event, ids, numbered, outlet, settings

pytestmark = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))

SECRET = "correct-horse-battery"


def credentials(folder: Path, password: str, mode: int = 0o600) -> Path:
    path = folder / "credentials"
    path.write_text(f"edge\n{password}\n")
    path.chmod(mode)
    return path


def test_wrong_password_is_said_once_and_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    path = credentials(tmp_path, "wrong-secret")
    how = {"credentials": ("edge", SECRET)}
    with Broker(("edge", SECRET)) as broker, Receiver(broker.port, **how) as receiver:
        section = settings(broker.port, tmp_path / "spool", credentials_file=path)
        with outlet(section, said) as queue:
            queue.offer(event(0))
            wait_until(lambda: said)
            time.sleep(1.5)  # some more attempts
            assert len(said) == 1
            assert "refuses the user name, password or certificate" in said[0]
            credentials(tmp_path, SECRET)  # somebody puts it right
            wait_until(lambda: receiver.events())
            wait_until(lambda: len(said) == 2)
    assert "connected again" in said[1]
    text = " ".join(said) + repr(section)
    assert "secret" not in text
    assert SECRET not in text


def test_topic_that_may_not_be_written_keeps_the_events(tmp_path: Path) -> None:
    said: list[str] = []
    rights = ("topic read #", "topic write devrec-agent/edge/status")
    with (
        Broker(rights=rights) as broker,
        outlet(settings(broker.port, tmp_path), said, close_s=1) as queue,
    ):
        queue.offer(event(0))
        wait_until(lambda: said)
        time.sleep(1)
        assert queue.waiting == 1
        with Receiver(broker.port) as receiver:  # not connected for long: not online either
            wait_until(lambda: receiver.last("devrec-agent/edge/status") == "offline")
    assert [line for line in said if "refuses events (Not authorized)" in line] == said[:1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"edge\n", "needs the user name on line 1"),
        (b"edge\n\xff\xfesecret\n", "not UTF-8"),
    ],
)
def test_unusable_credentials(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "credentials"
    if content is not None:
        path.write_bytes(content)
    with (
        pytest.raises(ConfigError, match=message) as caught,
        outlet(settings(1883, tmp_path / "spool", credentials_file=path), []),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_credentials_that_everybody_can_read(tmp_path: Path) -> None:
    said: list[str] = []
    path = credentials(tmp_path, SECRET, 0o644)
    with outlet(settings(free_port(), tmp_path / "s", credentials_file=path), said, close_s=0.5):
        assert "can be read by everybody" in said[0]
    assert SECRET not in " ".join(said)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_tls_with_certificates_on_both_sides(tmp_path: Path, certificates: Path) -> None:
    own = {
        "ca_file": certificates / "ca.pem",
        "cert_file": certificates / "client.pem",
        "key_file": certificates / "client.key",
    }
    said: list[str] = []
    with Broker(tls=certificates, client_certificates=True) as broker:
        with Receiver(broker.port, **own) as receiver:
            with outlet(settings(broker.port, tmp_path, tls=True, **own), said) as queue:
                for number in range(100):
                    queue.offer(event(number))
                wait_until(lambda: len(receiver.events()) == 100)
            assert ids(receiver.events()) == numbered(0, 100)
        assert not said
        section = settings(broker.port, tmp_path, tls=True, ca_file=own["ca_file"])
        with outlet(section, said, close_s=1):
            wait_until(lambda: said)
            time.sleep(1)
    assert len(said) == 1
    assert "client certificate?" in said[0]


def test_tls_that_does_not_hold(tmp_path: Path, certificates: Path) -> None:
    said: list[str] = []
    with Broker(tls=certificates) as broker:
        ca_file = certificates / "ca.pem"
        unknown = settings(broker.port, tmp_path, tls=True)
        wrong_name = settings(broker.port, tmp_path, tls=True, ca_file=ca_file)
        wrong_name = wrong_name.model_copy(update={"host": "localhost"})
        plain = settings(broker.port, tmp_path, tls=False)
        for section, why in (
            (unknown, "TLS: its certificate is not accepted: self-signed certificate"),
            (wrong_name, "TLS: its certificate is not accepted: Hostname mismatch"),
            (plain, "closes the connection before it answers: does it expect TLS"),
        ):
            with outlet(section, said, close_s=1) as queue:
                queue.offer(event(0))
                wait_until(lambda: said)
                time.sleep(0.4)
                assert queue.delivered == 0
            assert len(said) == 1
            assert why in said.pop()
    with Broker() as broker, outlet(settings(broker.port, tmp_path, tls=True), said, close_s=1):
        wait_until(lambda: said)
    assert "TLS fails" in said[0] or "cannot be reached" in said[0]


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_unusable_certificates(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_text("not a certificate")
    for path in (tmp_path / "file", tmp_path / "missing"):
        section = settings(8883, tmp_path / "spool", tls=True, **{key: path})
        with pytest.raises(ConfigError, match=f"{path}: no"), outlet(section, []):
            pass


def test_encrypted_key_is_refused_rather_than_asked_for(tmp_path: Path, certificates: Path) -> None:
    key = tmp_path / "key"
    source = certificates / "client.key"
    subprocess.run(
        ["openssl", "ec", "-in", source, "-aes256", "-passout", "pass:x", "-out", key],
        check=True,
        capture_output=True,
    )
    files = {"cert_file": certificates / "client.pem", "key_file": key}
    section = settings(8883, tmp_path / "spool", tls=True, **files)
    with pytest.raises(ConfigError, match="unencrypted key"), outlet(section, []):
        pass
