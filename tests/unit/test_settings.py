from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ctcedge.errors import SettingsError
from ctcedge.settings import (
    DecisionSettings,
    ImageSettings,
    Settings,
    WatchSettings,
    lab_config,
    load_settings,
    source_settings,
)

WHOLE = """
model = "mine"
provider = "cpu"
out = "/calls"
batch_size = 8
gpu_memory_mb = 512
workers = 4

[images]
pattern = '(?P<cell>.+)\\.png'
um_per_px = 1
channels.BF = ["ch1"]

[decision]
operating_point = "screening"
prevalence = 0.0002

[watch]
stability_delay = 2
rescan_interval = 5.5
decode_timeout = 0
"""


def written(folder: Path, text: str, name: str = "settings.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == Settings()


def test_a_settings_file(tmp_path: Path) -> None:
    assert load_settings(tmp_path, written(tmp_path, WHOLE)) == Settings(
        ImageSettings(r"(?P<cell>.+)\.png", 1.0, {"BF": ("ch1",)}),
        WatchSettings(2.0, 5.5, 0.0),
        "mine",
        "cpu",
        "/calls",
        8,
        512,
        4,
        DecisionSettings("screening", 0.0002),
    )


def test_flags_go_before_the_file_and_the_file_before_defaults(tmp_path: Path) -> None:
    settings = load_settings(
        tmp_path,
        written(tmp_path, WHOLE),
        images={"um_per_px": 0.25, "pattern": None},
        decision={"operating_point": None, "prevalence": 0.01},
        watch={"stability_delay": 9.0, "rescan_interval": None},
        provider="auto",
        model=None,
    )
    assert settings.images.um_per_px == 0.25
    assert settings.images.pattern == r"(?P<cell>.+)\.png"
    assert settings.decision == DecisionSettings("screening", 0.01)
    assert settings.watch == WatchSettings(9.0, 5.5, 0.0)
    assert (settings.provider, settings.model) == ("auto", "mine")


def test_the_folders_own_file_says_how_images_are_read(tmp_path: Path) -> None:
    written(tmp_path, "[images]\num_per_px = 0.4\n", "ctcedge.toml")
    assert load_settings(tmp_path).images.um_per_px == 0.4
    assert load_settings(tmp_path, images={"um_per_px": 0.3}).images.um_per_px == 0.3


def test_config_replaces_the_folders_own_file(tmp_path: Path) -> None:
    written(tmp_path, "[images]\num_per_px = 0.4\n", "ctcedge.toml")
    assert load_settings(tmp_path, written(tmp_path, "")).images.um_per_px is None


@pytest.mark.parametrize(
    "text",
    [
        'model = "x"',
        'out = "/"',
        'provider = "cpu"',
        "batch_size = 1",
        "[watch]\nstability_delay=1",
        "[decision]\nprevalence=0.1",
    ],
)
def test_the_folders_own_file_may_hold_nothing_else(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text, "ctcedge.toml")
    with pytest.raises(SettingsError, match=r"unknown key.*\[images\] only; use --config") as error:
        load_settings(tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'x'", "unknown key 'modle'"),
        ("[images]\num_per_pixel = 1", r"unknown key 'images\.um_per_pixel'"),
        ("[images]\num_per_px = '1'", r"'images\.um_per_px' must be a number"),
        (
            "[images]\num_per_px = 0",
            r"'images\.um_per_px' must be a number between 0\.01 and 20, not 0",
        ),
        ("[images]\num_per_px = nan", r"'images\.um_per_px' must be a number between .*, not nan"),
        ("[images]\nchannels.BF = 'x'", r"'images\.channels\.BF' must be a list"),
        (f"[images.channels]\n{'c' * 201} = ['x']", "a key of 'images.channels' must be text"),
        (
            "[images.channels]\n" + "\n".join(f"c{n} = ['a{n}']" for n in range(51)),
            "'images.channels' must be a table of at most 50 channels",
        ),
        ("provider = 'gpu'", "'provider' must be one of 'auto', 'cuda', 'cpu'"),
        ("batch_size = 0", "'batch_size' must be a whole number between 1 and 4,096, not 0"),
        ("batch_size = true", "'batch_size' must be a whole number"),
        ("[watch]\nstability_delay = -1", "'watch.stability_delay' must be seconds between 0 and"),
        ("[watch]\nrescan_interval = 0", "'watch.rescan_interval' must be seconds above 0 and"),
        ("[decision]\noperating_point = 'best'", r"'decision\.operating_point' must be one of"),
        ("[decision]\nprevalence = 0", "must be a number above 0 and below 1, such as"),
        ("[decision]\nprevalence = 1.0", "must be a number above 0 and below 1, such as"),
        ("batch_size = ", "not valid TOML"),
        ("a" * 70_000, "at most 65536 bytes"),
        ("batch_size = 1" + "0" * 5000, "not valid TOML"),
        ("x = " + "[" * 5000, "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=message) as error:
        load_settings(tmp_path, path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"model = '\xff'")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(tmp_path, path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_settings_file(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "ctcedge.toml")
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings(tmp_path)


def test_a_settings_file_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "ctcedge.toml").symlink_to("nowhere")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    "flags",
    [{"images": {"um_per_px": value}} for value in (0.0, -1.0, 21.0, float("nan"), float("inf"))]
    + [
        {"watch": {name: value}}
        for name in ("stability_delay", "rescan_interval", "decode_timeout")
        for value in (-1.0, float("nan"), float("inf"))
    ]
    + [{"watch": {"rescan_interval": 0.0}}, {"batch_size": 0}, {"batch_size": 5000}],
)
def test_impossible_flags(tmp_path: Path, flags: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        load_settings(tmp_path, **flags)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"], ids=str
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_settings_as_other_editors_save_them(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(("# µm", "[images]", "um_per_px = 0.5", 'ignore = ["Müller"]', ""))
    (tmp_path / "ctcedge.toml").write_bytes(text.encode(encoding))
    images = load_settings(tmp_path).images
    assert (images.um_per_px, images.ignore) == (0.5, ("Müller",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n[images]\num_per_px = 0,5\n", r"line 3.*write numbers with a point"),
        ("\n[images]\num_per_px = '0,5'\n", r"'images.um_per_px' must be .* \(line 3\).*a point"),
        ("[images]\n\num_per_px = 50\n", r"'images.um_per_px' must be .* \(line 3\)"),
        ("model = sim-resnet18", r"line 1.*in quotation marks: model = 'sim-resnet18'"),
        ("out = C:\\calls", r"line 1.*in quotation marks: out = 'C:\\calls'"),
        ('out = "D:\\Users\\lab"', "line 1.*backslash in single quotes"),
        ("model = \u201cx\u201d", "line 1.*typographic quotes: write straight ones"),
        ("model = 'x", "a closing quotation mark is missing in line 1"),
        ("[decision]\nprevalence = 1/5000", r"line 2.*with a point: prevalence = 0\.0002"),
        ("[decision]\nprevalence = .5 %", r"line 2.*with a point: prevalence = 0\.005"),
        ("images\nx = 1", r"line 1.*write \[images\] for a section"),
        ("[images\nx = 1", r"line 1.*write \[images\] with both brackets"),
        ("batch_size: 8", "line 1.*write = between key and value"),
        ("[images]\nchannels.BF = [BF]", "line 2.*in quotation marks, also in a list"),
        ("batch_size = 8\nbatch_size = 9", "batch_size is there twice, in lines 1 and 2"),
        ("[watch]\n[images]\n[watch]", r"\[watch\] is there twice, in lines 1 and 3"),
        ("[image]\num_per_px = 1", r"unknown key 'image' .*did you mean 'images'\?"),
        ("provider = 'cud'", r"'provider' must be one of .*\(line 1\); did you mean 'cuda'\?"),
        ("[images]\nUM_PER_PX = 0.5\n", r"unknown key 'images.UM_PER_PX' .*\(line 2\)"),
        ('out = "D:\\temp"\n', r"'out' contains a control character .*single quotes"),
        (
            '[images]\npattern = "\\b(?P<cell>[0-9]+)_BF.png"\n',
            r"'pattern' contains a control character .*single quotes",
        ),
    ],
)
def test_a_value_that_is_not_meant_so_is_refused_with_line_and_cure(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path, written(tmp_path, text))


@pytest.mark.parametrize("name", ["ctcedge.toml.txt", "CTCEDGE.TOML", "Ctcedge.toml"])
def test_settings_of_a_similar_name_are_not_passed_over(tmp_path: Path, name: str) -> None:
    written(tmp_path, "[images]\num_per_px = 0.5\n", name)
    with pytest.raises(SettingsError, match=rf"{name} is not read.*rename it"):
        load_settings(tmp_path)
    load_settings(tmp_path, written(tmp_path, "", "other.toml"))
    written(tmp_path, "", "ctcedge.toml")
    load_settings(tmp_path)


def test_one_lab_file_that_of_the_variable_before_that_in_etc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_etc = tmp_path / "etc.toml"
    monkeypatch.setattr("ctcedge.settings.LAB_CONFIG", in_etc)
    assert lab_config() is None  # an empty variable: no file
    monkeypatch.delenv("CTCEDGE_CONFIG")
    assert lab_config() is None
    in_etc.touch()
    assert lab_config() == in_etc
    monkeypatch.setenv("CTCEDGE_CONFIG", "/lab.toml")
    assert lab_config() == Path("/lab.toml")


def test_the_folders_own_images_go_over_the_lab_file_key_by_key(tmp_path: Path) -> None:
    own = written(tmp_path, "[images]\num_per_px = 0.4\n", "ctcedge.toml")
    lab = written(tmp_path, WHOLE)
    sourced = source_settings(tmp_path, lab=lab, model="other")
    assert sourced.settings.images.um_per_px == 0.4
    assert sourced.settings.images.pattern == r"(?P<cell>.+)\.png"
    assert (sourced.settings.out, sourced.settings.model) == ("/calls", "other")
    assert sourced.origins["images.um_per_px"] == f"{own}, line 2"
    assert sourced.origins["out"] == f"{lab}, line 4"
    assert sourced.origins["model"] == "command line"
    assert source_settings(None, lab=lab).settings.images.um_per_px == 1


def test_a_lab_file_that_the_variable_names_and_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "none.toml"
    monkeypatch.setenv("CTCEDGE_CONFIG", str(path))
    with pytest.raises(SettingsError, match=r"cannot be read .*variable CTCEDGE_CONFIG names it"):
        load_settings(tmp_path, lab=lab_config())
