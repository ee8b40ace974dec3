"""Galleries: what is kept, what is refused, and that a change is there whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model.embedding_scoring import ClipEmbedding
from model.enrolled_device import (
    EnrolledClip,
    EnrolledDevice,
    HalfArray,
    ModelIdentity,
    checked_name,
    to_half,
)
from model.errors import GalleryError
from model.features import FrontEndConfig
from model.gallery import Gallery, re_enroll
from model.gallery_archive import export_gallery, import_gallery
from model.gallery_folder import read_devices, remove_devices, write_devices
from tests.gallery_rig import (
    DIMS,
    MODEL,
    OTHER_MODEL,
    content,
    files_in,
    made_up_clip,
    made_up_device,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two devices, three clips."""
    folder = tmp_path / "gallery"
    gallery = Gallery.open(folder, MODEL)
    gallery.add("phone 10", [made_up_clip("a.wav"), made_up_clip("quiet.wav")])
    gallery.add("Phone 2", [made_up_clip("c.wav")])
    return folder


def names(folder: Path) -> list[str]:
    return [device.name for device in Gallery.open(folder, MODEL).devices]


def test_missing_and_empty_folders_hold_nothing(tmp_path: Path) -> None:
    assert Gallery.open(tmp_path / "none", MODEL).devices == ()
    assert Gallery.open(tmp_path, MODEL).devices == ()
    assert not (tmp_path / "none").exists()


def test_what_is_added_comes_back(folder: Path) -> None:
    gallery = Gallery.open(folder, MODEL)
    assert [device.name for device in gallery.devices] == ["Phone 2", "phone 10"]
    device = gallery.devices[1]
    made_up = made_up_device("phone 10", "a.wav", "quiet.wav")
    expected = dataclasses.replace(made_up, created=device.created, updated=device.updated)
    assert content(device) == content(expected)
    assert device.warnings == ("quiet",)
    assert len(device.embeddings) == 2
    assert device.embeddings[0].mean.dtype == np.float64
    assert device.clips[0].load_features().dtype == np.float16


def test_numpy_alone_reads_a_device_file(folder: Path) -> None:
    [path] = folder.glob("phone-10-*.npz")
    with np.load(path, allow_pickle=False) as arrays:
        header = json.loads(arrays["device"].tobytes())
        assert header["name"] == "phone 10"
        assert header["format_version"] == 1
        assert arrays["embeddings"].shape == (2, DIMS)
        sha256 = header["clips"][0]["sha256"]
        assert arrays[f"features-{sha256}"].shape == (130, 73)


def test_others_cannot_read_what_speech_can_be_made_from(folder: Path) -> None:
    assert folder.stat().st_mode & 0o007 == 0
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o007 == 0


def test_adding_to_a_device_and_replacing_it(folder: Path) -> None:
    gallery = Gallery.open(folder, MODEL)
    with pytest.raises(GalleryError, match=r"Phone 2 is enrolled already: --add .*--replace"):
        gallery.add("PHONE 2", [made_up_clip("d.wav")])
    new = [made_up_clip("c.wav"), made_up_clip("d.wav")]
    device = gallery.add("PHONE 2", new, "add")
    assert device.name == "Phone 2"
    assert [clip.source for clip in device.clips] == ["c.wav", "d.wav"]
    created = device.created
    device = gallery.add("phone 2", new[1:], "replace")
    assert [clip.source for clip in device.clips] == ["d.wav"]
    assert device.created == created
    assert names(folder) == ["Phone 2", "phone 10"]
    assert len(list(folder.glob("*.npz"))) == 2


def test_a_recording_belongs_to_one_device(folder: Path) -> None:
    gallery = Gallery.open(folder, MODEL)
    with pytest.raises(GalleryError, match=r"a\.wav: is enrolled already, as phone 10"):
        gallery.add("third", [made_up_clip("a.wav")])
    assert gallery.owner_of(made_up_clip("c.wav").sha256) is gallery.device("phone 2")
    assert gallery.owner_of("0" * 64) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty"),
        ("x" * 101, "at most 100"),
        ("a/b", "must not hold"),
        ("a\\b", "must not hold"),
        ("a\nb", "do not print"),
        ("a\x1b[31m", "do not print"),
        ("\u202ea", "do not print"),
        ("\udcff", "do not print"),
        (" a", "space"),
        ("Unknown", "cannot be called"),
    ],
)
def test_impossible_names(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=message) as caught:
        Gallery.open(tmp_path, MODEL).add(name, [made_up_clip("a.wav")])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["..", "-rf", "Ann's [phone] 🎙", "é" * 100, "CON"], ids=ascii)
def test_possible_names(name: str, tmp_path: Path) -> None:
    Gallery.open(tmp_path / "g", MODEL).add(name, [made_up_clip("a.wav")])
    assert names(tmp_path / "g") == [name]
    assert {path.name for path in tmp_path.iterdir()} == {"g"}


def test_names_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g", MODEL)
    gallery.add("Caf\u00e9", [made_up_clip("a.wav")])
    assert checked_name("Cafe\u0301") == "Caf\u00e9"
    for name in ("Cafe\u0301", "CAF\u00c9"):
        with pytest.raises(GalleryError, match="already"):
            gallery.add(name, [made_up_clip("b.wav")])


def test_removing(folder: Path) -> None:
    gallery = Gallery.open(folder, MODEL)
    gallery.remove("PHONE 10")
    assert [device.name for device in gallery.devices] == names(folder) == ["Phone 2"]
    with pytest.raises(GalleryError, match="no device phone 10 is enrolled"):
        gallery.remove("phone 10")
    with pytest.raises(GalleryError, match="no device nobody"):
        remove_devices(folder, ["Phone 2", "nobody"])
    assert names(folder) == ["Phone 2"]
    assert len(list(folder.glob("*.npz"))) == 1


def test_numbers_that_are_none_do_not_get_in() -> None:
    clip = made_up_clip("a.wav")
    for mean in (np.full(DIMS, np.nan), np.full(DIMS, np.inf)):
        with pytest.raises(ValueError, match="embedding"):
            dataclasses.replace(clip, embedding=ClipEmbedding(mean, 1.0))
    for wrong in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(ValueError, match="duration_s"):
            dataclasses.replace(clip, duration_s=wrong)
        with pytest.raises(ValueError, match="windows"):
            dataclasses.replace(clip, embedding=ClipEmbedding(np.zeros(DIMS), wrong))
    with pytest.raises(ValueError, match="not numbers"):
        to_half(np.array([[0.0, np.nan]]))


def test_features_beyond_float16_become_its_largest() -> None:
    half = to_half(np.array([1e6, -1e6, 0.5], np.float32))
    np.testing.assert_array_equal(half, [65504, -65504, 0.5])


@pytest.mark.parametrize("prefbank", ["linear", "log"])
def test_mean_log_mel(prefbank: str) -> None:
    front_end = FrontEndConfig.from_dict({"prefbank": prefbank})
    device = made_up_device("x", "a.wav", model=dataclasses.replace(MODEL, front_end=front_end))
    mels = np.abs(np.random.default_rng(1).normal(size=(200, 34)))
    stored = to_half(np.concatenate([np.zeros((200, 39)), mels], axis=1))
    parts = [
        dataclasses.replace(made_up_clip(s), load_features=lambda part=part: part)  # type: ignore[misc]
        for s, part in (("a", stored[:50]), ("b", stored[50:]))
    ]
    device = dataclasses.replace(device, clips=tuple(parts))
    expected = (np.log(np.maximum(mels, 1e-5)) if prefbank == "linear" else mels).mean(axis=0)
    assert device.mean_log_mel.shape == (34,)
    np.testing.assert_allclose(device.mean_log_mel, expected, atol=1e-3)


def test_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(GalleryError, match=r"another model .* `devrec-agent gallery re-enroll`"):
        Gallery.open(folder, OTHER_MODEL)
    front_end = FrontEndConfig(remove_dc=True)
    other = ModelIdentity("b" * 64, front_end, DIMS)
    with pytest.raises(GalleryError, match="recordings must be enrolled again"):
        Gallery.open(folder, other)
    before = files_in(folder)
    with pytest.raises(GalleryError, match="recordings must be enrolled again"):
        re_enroll(folder, other, sum_of_features)
    assert files_in(folder) == before


def sum_of_features(features: HalfArray) -> ClipEmbedding:
    """Stands in for a model."""
    return ClipEmbedding(features[:, :DIMS].sum(axis=0, dtype=np.float64), 2.0)


def test_re_enrolling(folder: Path) -> None:
    assert re_enroll(folder, OTHER_MODEL, sum_of_features) == ["Phone 2", "phone 10"]
    gallery = Gallery.open(folder, OTHER_MODEL)
    for device in gallery.devices:
        for clip in device.clips:
            features = clip.load_features()
            np.testing.assert_array_equal(features, made_up_clip(clip.source).load_features())
            np.testing.assert_array_equal(clip.embedding.mean, sum_of_features(features).mean)
    assert re_enroll(folder, OTHER_MODEL, sum_of_features) == []


def test_re_enrolling_is_for_all_devices_or_none(folder: Path) -> None:
    before = files_in(folder)
    calls: list[int] = []

    def fails_late(features: HalfArray) -> ClipEmbedding:
        calls.append(len(features))
        if len(calls) == 3:
            raise GalleryError("no")
        return sum_of_features(features)

    with pytest.raises(GalleryError, match="no"):
        re_enroll(folder, OTHER_MODEL, fails_late)
    assert files_in(folder) == before
    longer = dataclasses.replace(OTHER_MODEL, window_frames=131)
    with pytest.raises(GalleryError, match="shorter than one window"):
        re_enroll(folder, longer, sum_of_features)
    assert files_in(folder) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"x")
    with pytest.raises(GalleryError, match="not a gallery"):
        Gallery.open(tmp_path, MODEL)
    with pytest.raises(GalleryError, match="not a gallery"):
        write_devices(tmp_path, [made_up_device("x", "a.wav")])
    with pytest.raises(GalleryError, match="cannot be read"):
        Gallery.open(tmp_path / "song.mp3", MODEL)
    assert files_in(tmp_path) == {"song.mp3": b"x"}


def test_other_files_in_a_gallery_stay(folder: Path) -> None:
    for name in ("notes.txt", "backup.npz", ".hidden.npz"):
        (folder / name).write_bytes(b"x")
    Gallery.open(folder, MODEL).remove("phone 2")
    assert {"notes.txt", "backup.npz", ".hidden.npz"} <= set(files_in(folder))


def test_indexes_of_others_are_refused(folder: Path) -> None:
    index = folder / "gallery.json"
    good = json.loads(index.read_text())
    first = good["devices"][0]
    for change, message in (
        ({"format": "something"}, "not the index of a gallery"),
        ({"format_version": 2}, "gallery format 2, this version reads 1"),
        ({"devices": 3}, "damaged"),
        ({"devices": [{"name": "x", "file": "../../etc/passwd"}]}, "damaged"),
        ({"devices": [{"name": "a/b", "file": first["file"]}]}, "damaged"),
        ({"devices": [first, {**first, "name": first["name"].upper()}]}, "damaged"),
    ):
        index.write_text(json.dumps({**good, **change}))
        with pytest.raises(GalleryError, match=message):
            read_devices(folder)


def test_device_files_that_do_not_fit_their_index(folder: Path) -> None:
    first, second = sorted(folder.glob("*.npz"))
    first_data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(GalleryError, match=r"holds .*gallery remove 'phone 10'"):
        read_devices(folder)
    first.write_bytes(first_data)
    second.unlink()
    with pytest.raises(GalleryError, match="missing, though"):
        read_devices(folder)
    remove_devices(folder, ["phone 2"])
    assert names(folder) == ["phone 10"]


def test_features_of_a_device_that_is_gone(folder: Path) -> None:
    device = Gallery.open(folder, MODEL).devices[0]
    remove_devices(folder, [device.name])
    with pytest.raises(GalleryError, match="changed or removed meanwhile"):
        _ = device.mean_log_mel


def test_export_and_import(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "all.zip"
    assert sorted(export_gallery(folder, archive)) == ["Phone 2", "phone 10"]
    assert archive.stat().st_mode & 0o007 == 0
    assert sorted(import_gallery(tmp_path / "new", archive)) == ["Phone 2", "phone 10"]
    there = [content(device) for device in Gallery.open(folder, MODEL).devices]
    assert [content(device) for device in Gallery.open(tmp_path / "new", MODEL).devices] == there
    assert str(tmp_path).encode() not in archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        assert not any("/" in name for name in opened.namelist())


def test_importing_into_a_gallery(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "one.zip"
    assert export_gallery(folder, archive, ["PHONE 2"]) == ["Phone 2"]
    gallery = Gallery.open(folder, MODEL)
    gallery.add("phone 2", [made_up_clip("z.wav")], "replace")
    with pytest.raises(GalleryError, match="Phone 2 is enrolled already: --replace"):
        import_gallery(folder, archive)
    assert import_gallery(folder, archive, replace=True) == ["Phone 2"]
    device = Gallery.open(folder, MODEL).device("phone 2")
    assert device is not None
    assert [clip.source for clip in device.clips] == ["c.wav"]
    assert names(folder) == ["Phone 2", "phone 10"]


def test_imports_that_do_not_fit_change_nothing(folder: Path, tmp_path: Path) -> None:
    write_devices(
        tmp_path / "g1", [made_up_device("new", "n.wav"), made_up_device("alias", "a.wav")]
    )
    export_gallery(tmp_path / "g1", tmp_path / "alias.zip")
    write_devices(tmp_path / "g2", [made_up_device("new", "n.wav", model=OTHER_MODEL)])
    export_gallery(tmp_path / "g2", tmp_path / "model.zip")
    (tmp_path / "text.zip").write_text("no archive")
    before = files_in(folder)
    for file, message in (
        ("alias.zip", r"alias: a\.wav is enrolled already, as phone 10"),
        ("model.zip", "another model"),
        ("text.zip", "no exported gallery"),
        ("none.zip", "cannot be read: No such file"),
    ):
        with pytest.raises(GalleryError, match=message):
            import_gallery(folder, tmp_path / file)
        assert files_in(folder) == before


def test_there_must_be_something_to_export(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(GalleryError, match="no device is enrolled"):
        export_gallery(tmp_path / "none", tmp_path / "x.zip")
    with pytest.raises(GalleryError, match="no device nobody"):
        export_gallery(folder, tmp_path / "x.zip", ["phone 2", "nobody"])
    assert not (tmp_path / "x.zip").exists()


def test_devices_are_checked() -> None:
    device = made_up_device("x", "a.wav")
    clip: EnrolledClip = device.clips[0]
    with pytest.raises(ValueError, match="at least one clip"):
        dataclasses.replace(device, clips=())
    with pytest.raises(ValueError, match="twice"):
        dataclasses.replace(device, clips=(clip, clip))
    with pytest.raises(ValueError, match="another size"):
        EnrolledDevice(
            "x",
            device.created,
            device.updated,
            dataclasses.replace(MODEL, embedding_dims=9),
            (clip,),
        )
    for wrong in ({"source": "/home/ann/a.wav"}, {"sha256": "x"}, {"sample_rate_hz": 0}):
        with pytest.raises(ValueError, match="out of range"):
            dataclasses.replace(clip, **wrong)
