"""Reading configuration files: the line of every value, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agent.config.loading
from agent.config.file import Location, read_config_file
from agent.config.settings import Config
from agent.config.text import toml_value
from tests.config_rig import load, problem, problems, unprivileged, write
from tests.config_rig import no_system_file as _no_system_file  # noqa: F401


def test_every_line_is_known(tmp_path: Path) -> None:
    text = '''# comment with [table] and "quote
top.dotted.key = 1
"quoted # key" = 2
text = """
[not.a.table]
not = "a key"
""""
other = \'\'\'
also = 'none' \'\'\'

[ "agent" ] # comment
name = "x # no comment" # comment
list = [ # comment ]
  "a = 1",
  [1, 2], # "
]
inline = { a = 1, b = { c = 2 } }
[[input]]
name = 'a\\'
  [[input.deep]]
  key = 1
  [[input.deep]]
  key = 2
[input.decision]
enter = 1
[[input]]
name = "b"
[input.decision]
enter = 1
[a.b]
c = 1
[a]
d = 1'''
    file = read_config_file(write(tmp_path / "c.toml", text.replace("\n", "\r\n")))
    expected: dict[Location, int] = {
        ("top", "dotted", "key"): 2,
        ("top",): 2,
        ("quoted # key",): 3,
        ("text",): 4,
        ("other",): 8,
        ("agent",): 11,
        ("agent", "name"): 12,
        ("agent", "list"): 13,
        ("agent", "list", 1, 0): 13,
        ("agent", "inline", "b", "c"): 17,
        ("input", 0): 18,
        ("input", 0, "name"): 19,
        ("input", 0, "deep", 0, "key"): 21,
        ("input", 0, "deep", 1, "key"): 23,
        ("input", 0, "decision", "enter"): 25,
        ("input", 1): 26,
        ("input", 1, "name"): 27,
        ("input", 1, "decision"): 28,
        ("input", 1, "decision", "enter"): 29,
        ("a", "b", "c"): 31,
        ("a", "d"): 33,
        ("nowhere",): 1,
    }
    assert {location: file.line_of(location) for location in expected} == expected


@given(
    table=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
        ),
        max_size=6,
    )
)
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read(
    table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [f"{toml_value(key)} = {toml_value(value)}" for key, value in table.items()]
    path = tmp_path_factory.getbasetemp() / "written.toml"
    file = read_config_file(write(path, "[t]\n" + "\n".join(lines)))
    assert file.values == {"t": table}
    for number, key in enumerate(table, 2):
        assert file.line_of(("t", key)) == number


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[agent]\nname = \n", "2: not TOML: Invalid value"),
        ("[agent\n", "1: not TOML: Expected ']'"),
        ("[agent]\n\nname\n", "3: not TOML: Expected '='"),
        ('a = """\n\n', "2: not TOML: "),
        ("[agent]\nname = 'a'\nname = 'b'\n", "3: this key or table stands here a second time"),
        ("[mqtt]\n[agent]\n[mqtt]\n", "3: the table [mqtt] stands here a second time"),
        ("[agent]\nname = {a = 1, a = 2}\n", "2: not TOML: "),
        (b"[agent]\nname = 'x'\n# caf\xe9\n", "3: not UTF-8 text"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "1: not TOML: "),
        ("\ufeff[agent]\n".encode("utf-16"), "1: not UTF-8 text"),
        ("[agent]\nthreads = " + "9" * 5000, " a number is too long"),
        ("a = " + "[" * 100_000, " a number is too long, or lists too deep"),
        ("#" * (2 << 20), " larger than 1 MB"),
    ],
)
def test_syntax(text: str | bytes, complaint: str, tmp_path: Path) -> None:
    assert problem(text, tmp_path).startswith(complaint)


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# nothing\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_means_the_defaults(text: bytes, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "c.toml", text))
    assert loaded.config == Config()
    assert loaded.files == (tmp_path / "c.toml",)
    assert loaded.origin(("agent", "threads")).kind == "default"


def test_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", b"\xef\xbb\xbf[agent]\r\nthreads = 2\r\n")
    assert load(path).config.agent.threads == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert problems(tmp_path / "no.toml") == [f"{tmp_path / 'no.toml'}: no such file"]
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    assert "symbolic links" in problems(loop)[0]
    assert problems(Path("/dev/zero")) == ["/dev/zero: larger than 1 MB, so no configuration"]
    private = write(tmp_path / "private.toml", "")
    private.chmod(0)
    with unprivileged():
        assert problems(private) == [f"{private}: cannot be read: Permission denied"]


def test_a_searched_file_must_be_readable_if_it_is_there(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert load(**home).files == ()
    path = tmp_path / "devrec-agent" / "config.toml"
    path.mkdir(parents=True)
    assert problems(**home) == [f"{path}: cannot be read: Is a directory"]
    assert "name too long" in problems(XDG_CONFIG_HOME=f"/{'x' * 300}")[0]


def test_a_home_that_cannot_be_entered_is_passed_over_but_etc_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etc = agent.config.loading.SYSTEM_FILE
    monkeypatch.setattr(agent.config.loading, "SYSTEM_FILE", Path("/etc/no-such-folder/c.toml"))
    home = tmp_path / "home"
    write(home / ".config" / "devrec-agent" / "config.toml", "")
    home.chmod(0o700)
    with unprivileged():
        loaded = load(HOME=str(home))
        assert loaded.files == ()
        (warning,) = loaded.warnings
        assert "Permission denied; passed over" in warning
        assert str(home) in warning
    monkeypatch.setattr(agent.config.loading, "SYSTEM_FILE", write(etc, ""))
    etc.parent.chmod(0o700)
    with unprivileged():
        assert problems() == [f"{etc}: its folder cannot be entered: Permission denied"]
