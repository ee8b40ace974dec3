"""``enroll`` and ``gallery`` as a user runs them, with simulated devices and the built-in model."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from agent.cli import app
from agent.gallery_access import default_gallery, gallery_folder, identity_of, writing
from export.engine import Engine
from export.engine_loading import load_engine
from model.audio import read_clip
from model.builtin import BUILTIN_MODEL
from model.errors import GalleryError
from model.features import extract, windows_of
from model.gallery import Gallery
from model.synthetic_speech import synthetic_speech
from model.virtual_microphone import VirtualMicrophone
from tests.conftest import CLI_ENV, ROOT, run_cli_without, save_changed
from tests.gallery_rig import files_in

RATE_HZ = 32_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, of 3 s and 4 s, of each of two simulated devices."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in (1, 2):
        microphone = VirtualMicrophone.draw(seed, name=f"virtual-{seed}")
        for seconds in (3, 4):
            rng = np.random.default_rng(seconds)
            recorded = microphone.record(synthetic_speech(seconds, seed=seconds), RATE_HZ, rng)
            soundfile.write(folder / f"v{seed}_{seconds}s.wav", recorded, RATE_HZ)
    return folder


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands look without being told."""
    monkeypatch.setenv("DEVREC_AGENT_GALLERY", str(tmp_path / "gallery"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "gallery"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(BUILTIN_MODEL)


def run(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def complaint(*arguments: str | Path, code: int) -> str:
    """The one line on stderr; nothing on stdout."""
    done = run(*arguments, code=code)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("devrec-agent: ")
    return lines[0]


def answer(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """The one JSON object on stdout."""
    [line] = run(*arguments, "--json", code=code).stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_what_is_enrolled(clips: Path, gallery: Path, engine: Engine) -> None:
    path = clips / "v1_4s.wav"
    told = answer("enroll", "my phone", path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["device"] == "my phone"
    assert told["thin"] is True
    assert told["enrolled"] == [
        {
            "file": "v1_4s.wav",
            "sha256": sha256,
            "duration_s": 4.0,
            "sample_rate_hz": RATE_HZ,
            "windows": 3.5,  # 6 that overlap by half
            "warnings": ["another-kind"],  # simulated, and not of the model's corpus
        }
    ]
    assert told["model_sha256"] == hashlib.sha256(BUILTIN_MODEL.read_bytes()).hexdigest()
    assert 0 < told["seconds"] < 30
    # The same by hand.
    config = engine.metadata.front_end
    features = extract(read_clip(path, config.sample_rate_hz), config)
    expected = engine.run(windows_of(features, 64)).embedding.mean(axis=0)
    [device] = Gallery.open(gallery, identity_of(engine, BUILTIN_MODEL)).devices
    np.testing.assert_allclose(device.clips[0].embedding.mean, expected, atol=1e-5)
    np.testing.assert_allclose(device.clips[0].load_features(), features, rtol=1e-3, atol=1e-6)
    assert device.mean_log_mel.shape == (config.n_mels,)


def test_words_for_people(clips: Path, gallery: Path) -> None:
    done = run("enroll", "[my] phone", clips / "v1_3s.wav", clips / "v1_4s.wav")
    assert "[my] phone: 2 clips, 7.0 s, enrolled in " in done.stdout
    assert "v1_3s.wav" in done.stdout
    assert done.stderr == ""
    done = run("enroll", "IPHONEX", clips / "v2_3s.wav")
    thin, taken = done.stderr.splitlines()
    assert "3.0 s of audio is thin" in thin
    assert "one of the model's own devices" in taken
    done = run("gallery", "list")
    assert done.stdout.index("[my] phone") < done.stdout.index("IPHONEX")
    assert "v1_4s.wav" in run("gallery", "show", "[MY] phone").stdout


def test_a_device_that_is_there(clips: Path, gallery: Path) -> None:
    run("enroll", "phone", clips / "v1_3s.wav")
    again = complaint("enroll", "Phone", clips / "v1_4s.wav", code=11)
    assert "--add" in again
    assert "--replace" in again
    assert answer("enroll", "Phone", clips / "v1_4s.wav", "--add")["clips"] == 2
    told = answer("enroll", "phone", clips / "v1_4s.wav", "--add")
    assert told["clips"] == 2
    assert told["enrolled"] == []
    assert "enrolled already, as phone" in told["left_out"][0]["reason"]
    told = answer("enroll", "phone", clips / "v1_4s.wav", "--replace")
    assert (told["clips"], told["duration_s"]) == (1, 4.0)
    assert "exclude each other" in complaint(
        "enroll", "x", clips / "v1_4s.wav", "--add", "--replace", code=2
    )
    other = complaint("enroll", "other", clips / "v1_4s.wav", code=11)
    assert "is enrolled already, as phone" in other


def test_folders_and_recordings_given_twice(clips: Path, gallery: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "both")
    shutil.copy(clips / "v1_3s.wav", tmp_path / "both" / "copy.wav")
    done = run("enroll", "both", tmp_path / "both")
    assert "4 clips, 14.0 s" in done.stdout
    assert "v1_3s.wav: the same recording as" in done.stderr
    (tmp_path / "none").mkdir()
    assert "no audio files" in complaint("enroll", "none", tmp_path / "none", code=3)


def bad_files(folder: Path) -> Mapping[str, str]:
    """Files that cannot be enrolled, with a part of the message for each."""
    good = synthetic_speech(2.0, seed=5)
    with_nan = good.copy()
    with_nan[1000] = np.nan
    soundfile.write(folder / "nan.wav", with_nan, RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "short.wav", good[: RATE_HZ // 2], RATE_HZ)
    soundfile.write(folder / "nothing.wav", good[:0], RATE_HZ)
    soundfile.write(folder / "zeros.wav", 0 * good, RATE_HZ)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no audio")
    return {
        "nan.wav": "not numbers",
        "short.wav": "0.50 s is shorter than one window",
        "nothing.wav": "holds no samples",
        "zeros.wav": "digital silence",
        "empty.wav": "empty file",
        "text.wav": "not an audio file",
        "missing.wav": "no such file",
    }


def test_bad_files_get_a_line_each_and_the_others_are_enrolled(
    clips: Path, gallery: Path, tmp_path: Path
) -> None:
    expected = bad_files(tmp_path)
    bad = [tmp_path / name for name in expected]
    done = run("enroll", "phone", *bad, "--json", code=3)
    assert not gallery.exists()
    told = json.loads(done.stdout)
    assert (told["device"], told["enrolled"]) == ("phone", [])
    told = answer("enroll", "phone", *bad, clips / "v1_3s.wav", code=3)
    assert told["clips"] == 1
    for failed, (name, message) in zip(told["failed"], expected.items(), strict=True):
        assert failed["file"] == str(tmp_path / name)
        assert message in failed["error"]


def test_warnings_are_kept(gallery: Path, tmp_path: Path) -> None:
    loud = np.clip(synthetic_speech(1.2, seed=5, sample_rate_hz=16_000) * 30, -1, 1)
    soundfile.write(tmp_path / "loud.wav", np.stack([loud, loud], axis=1), 16_000)
    run("enroll", "phone", tmp_path / "loud.wav")
    warnings = {"narrowband", "multichannel", "clipping", "few-windows", "too-clipped"}
    [clip] = answer("gallery", "show", "phone")["clips"]
    assert set(clip["warnings"]) - {"another-kind"} == warnings  # so clipped, of any kind
    assert set(answer("gallery", "list")["warnings"]) == set(clip["warnings"])


def test_long_recordings_are_cut(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.enrolment.LONGEST_CLIP_S", 2.0)
    soundfile.write(tmp_path / "long.wav", synthetic_speech(25.0, seed=5), RATE_HZ)
    done = run("enroll", "phone", tmp_path / "long.wav")
    assert "the first 2 s are used" in done.stderr
    assert answer("gallery", "show", "phone")["clips"][0]["duration_s"] == 2.0


def test_impossible_names_are_refused_before_anything_is_read(gallery: Path) -> None:
    for name in ("", "a/b", "unknown", "x" * 101, "a\tb"):
        assert "name" in complaint("enroll", name, "missing.wav", code=11) or name == "unknown"
    assert not gallery.exists()


def test_galleries_are_listed_emptied_and_moved(clips: Path, gallery: Path, tmp_path: Path) -> None:
    assert "no device is enrolled" in run("gallery", "list").stdout
    assert run("gallery", "list", "--json").stdout == ""
    for seed in (1, 2):
        run("enroll", f"phone {seed}", clips / f"v{seed}_3s.wav")
    archive, elsewhere = tmp_path / "x.zip", tmp_path / "elsewhere"
    run("gallery", "export", archive)
    for path in clips.iterdir():
        assert str(path.parent).encode() not in archive.read_bytes()
    run("gallery", "import", archive, "--gallery", elsewhere)
    listed = run("gallery", "list", "--json").stdout
    assert run("gallery", "list", "--json", "--gallery", elsewhere).stdout == listed
    assert "enrolled already" in complaint("gallery", "import", archive, code=11)
    run("gallery", "import", archive, "--replace")
    assert run("gallery", "list", "--json").stdout == listed
    assert "no device nobody" in complaint("gallery", "remove", "phone 1", "nobody", code=11)
    assert run("gallery", "remove", "PHONE 1", "phone 2").stdout.count("removed") == 2
    assert "no device" in complaint("gallery", "show", "phone 1", code=11)
    assert "no device" in complaint("gallery", "export", archive, code=11)


def test_damaged_devices_can_be_removed(clips: Path, gallery: Path) -> None:
    run("enroll", "phone", clips / "v1_3s.wav")
    [path] = gallery.glob("*.npz")
    path.write_bytes(path.read_bytes()[:5000])
    assert "`devrec-agent gallery remove phone`" in complaint("gallery", "list", code=11)
    run("gallery", "remove", "phone")
    assert "no device is enrolled" in run("gallery", "list").stdout


def test_re_enrolling_with_another_model(
    clips: Path, gallery: Path, tmp_path: Path, engine: Engine
) -> None:
    """Another model with the same front end: weights changed, so embeddings change."""
    import onnx

    model = onnx.load(str(BUILTIN_MODEL))
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 2:
            tensor.CopyFrom(onnx.numpy_helper.from_array(0.9 * values, tensor.name))
    other = save_changed(model, tmp_path / "other.onnx", {})
    run("enroll", "phone", clips / "v1_3s.wav", clips / "v1_4s.wav")
    refused = complaint("enroll", "second", clips / "v2_3s.wav", "--model", other, code=11)
    assert "devrec-agent gallery re-enroll" in refused
    [before] = Gallery.open(gallery, identity_of(engine, BUILTIN_MODEL)).devices
    run("gallery", "re-enroll", "--model", other)
    assert "already" in run("gallery", "re-enroll", "--model", other).stdout
    direct = tmp_path / "direct"
    both = clips / "v1_3s.wav", clips / "v1_4s.wav"
    run("enroll", "phone", *both, "--model", other, "--gallery", direct)
    identity = identity_of(load_engine(other), other)
    [anew] = Gallery.open(gallery, identity).devices
    [direct_device] = Gallery.open(direct, identity).devices
    expected = {clip.sha256: clip.embedding for clip in direct_device.clips}
    for old, clip in zip(before.clips, anew.clips, strict=True):
        direct_one = expected[clip.sha256]
        assert clip.embedding.windows == direct_one.windows
        # Features were stored as float16; nothing else differs.
        tolerance = 2e-3 * np.abs(direct_one.mean).max()
        np.testing.assert_allclose(clip.embedding.mean, direct_one.mean, atol=tolerance)
        assert np.abs(clip.embedding.mean - old.embedding.mean).max() > 10 * tolerance


def test_another_front_end_needs_the_recordings(clips: Path, gallery: Path, tmp_path: Path) -> None:
    import onnx

    front_end = load_engine(BUILTIN_MODEL).metadata.front_end.to_dict()
    changed = json.dumps({**front_end, "remove_dc": not front_end["remove_dc"]})
    other = save_changed(
        onnx.load(str(BUILTIN_MODEL)), tmp_path / "other.onnx", {"devrec.front_end": changed}
    )
    run("enroll", "phone", clips / "v1_3s.wav")
    before = files_in(gallery)
    refused = complaint("gallery", "re-enroll", "--model", other, code=11)
    assert "recordings must be enrolled again" in refused
    assert files_in(gallery) == before


def test_other_precisions_of_a_model_share_its_gallery(engine: Engine, tmp_path: Path) -> None:
    import onnx

    sha256 = hashlib.sha256(BUILTIN_MODEL.read_bytes()).hexdigest()
    provenance = json.dumps({"precision": "int8", "source sha256": sha256})
    other = save_changed(
        onnx.load(str(BUILTIN_MODEL)), tmp_path / "int8.onnx", {"devrec.provenance": provenance}
    )
    assert identity_of(load_engine(other), other) == identity_of(engine, BUILTIN_MODEL)


def test_where_the_gallery_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Path("devrec-agent/gallery")
    assert default_gallery({"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / ours
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / ".local/share" / ours
    assert default_gallery({}) == default_gallery({"XDG_DATA_HOME": "relative"}) == home
    assert gallery_folder(tmp_path) == tmp_path


def test_without_torch_and_onnx(clips: Path, tmp_path: Path) -> None:
    absent = ("torch", "onnx", "lightning", "sklearn", "matplotlib", "paho", "prometheus_client")
    done = run_cli_without(
        absent, "enroll", "phone", clips / "v1_3s.wav", "--gallery", tmp_path / "g"
    )
    assert done.returncode == 0, done.stderr.decode()


def test_enrolling_at_once_loses_nothing(clips: Path, tmp_path: Path) -> None:
    """Two devices, and two clips of one, each by a process of its own."""
    jobs = [
        ("phone", "v1_3s.wav", "--add"),
        ("phone", "v1_4s.wav", "--add"),
        ("other", "v2_3s.wav"),
    ]
    program = (sys.executable, "-m", "agent.cli", "enroll", "--gallery", str(tmp_path / "g"))
    running = [
        subprocess.Popen(
            [*program, name, str(clips / file), *options],
            cwd=ROOT,
            env=CLI_ENV,
            stderr=subprocess.PIPE,
        )
        for name, file, *options in jobs
    ]
    for process in running:
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 0, complaints.decode()
    lines = run("gallery", "list", "--json", "--gallery", tmp_path / "g").stdout.splitlines()
    found = {told["device"]: told["clips"] for told in map(json.loads, lines)}
    assert found == {"other": 1, "phone": 2}


def test_a_writer_waits_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.gallery_access._PATIENCE_S", 0.1)
    folder = tmp_path / "g"
    with writing(folder), pytest.raises(GalleryError, match="in use"), writing(folder):
        pass
    with writing(tmp_path / "g"):
        pass


def test_noise_is_enrolled_with_a_warning(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * 32_000)
    soundfile.write(tmp_path / "noise.wav", noise, 32_000)
    arguments = ["enroll", "noise", str(tmp_path / "noise.wav"), "--gallery", str(tmp_path / "g")]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert "too-noisy" in done.stdout
