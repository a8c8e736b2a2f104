import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

from data import cli
from data.conversion.beam_options import parse_options
from tests.data.drawn import encoded, photo_folder, picture, read_all


def test_help_is_quick_to_import_and_shows_an_example(capsys):
    for command in ("csv", "convert", "inspect", "load-check", "sample"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert f"example: python -m data {command} " in " ".join(capsys.readouterr().out.split())


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import sys\nfrom data import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'tensorflow', 'apache_beam', 'tfx'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_from_a_folder_to_records(tmp_path, capsys):
    photo_folder(tmp_path / "photos", {"cat, a": 10, "dog": 10})
    csv = tmp_path / "data.csv"
    assert cli.main(["csv", str(tmp_path / "photos"), str(csv)]) == 0
    table = pd.read_csv(csv)
    assert list(table.columns) == ["split", "image_uri", "label"] and len(table) == 20
    out = tmp_path / "out"
    assert cli.main(["convert", str(csv), "--output-dir", str(out), "--encoding", "jpeg"]) == 0
    assert "16  (" in capsys.readouterr().out
    (folder,) = out.iterdir()
    assert cli.main(["load-check", str(folder)]) == 0
    assert "16 records" in capsys.readouterr().out
    assert cli.main(["inspect", str(folder), "--records", "2", "--output-dir", str(out)]) == 0


def test_errors_are_one_message_and_status_2(tmp_path, capsys):
    assert cli.main(["csv", str(tmp_path / "none"), str(tmp_path / "data.csv")]) == 2
    assert capsys.readouterr().err.startswith("error: No such folder")
    assert not (tmp_path / "data.csv").exists()
    photo_folder(tmp_path / "photos", {"cat": 10, "dog": 10})
    (tmp_path / "photos" / "dog" / "same.jpg").write_bytes(encoded(picture(1)))
    (tmp_path / "photos" / "cat" / "same.jpg").write_bytes(encoded(picture(1)))
    assert cli.main(["csv", str(tmp_path / "photos"), str(tmp_path / "data.csv")]) == 2
    assert "under two labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["csv", "photos", "photos"], "photos is a folder"),
        (["csv", "photos", "file/data.csv"], "File exists"),
        (["csv", "photos", "data.csv", "--split", "nan", "0.5", "0.5"], "Invalid shares"),
        (["convert", "photos", "--output-dir", "file"], "Cannot create the folder"),
        (["convert", "photos", "--output-dir", "file/out"], "Cannot create the folder"),
        (["convert", "photos", "--tfrecord-dir", "file/out"], "could not be finished"),
        (["convert", "photos", "--job-label", "a/b"], "without slashes"),
        (["convert", "photos", "--dataflow-option", "num_workers"], "must be NAME=VALUE"),
        (["inspect", "file"], "file is a file"),
        (["load-check", "file"], "file is a file"),
    ],
)
def test_unreadable_and_unwritable_paths_are_errors(
    tmp_path, monkeypatch, capsys, command, message
):
    monkeypatch.chdir(tmp_path)
    photo_folder(tmp_path / "photos", {"cat": 10, "dog": 10})
    (tmp_path / "file").touch()
    assert cli.main(command) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and message in errors


def test_convert_takes_a_folder_to_write_and_how_photos_are_read(tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo_folder(tmp_path / "photos", {"cat": 4, "dog": 4}, size=(24, 16))
    for name in ("a", "b"):
        lying = encoded(picture(ord(name)), exif=exif)
        (tmp_path / "photos" / "cat" / f"{name}.jpg").write_bytes(lying)
    (tmp_path / "photos" / "dog" / "large.jpg").write_bytes(encoded(picture(1, (60, 60))))
    command = ["convert", str(tmp_path / "photos"), "--max-pixels", "400", "--tfrecord-dir"]
    sizes = {}
    for name, flag in (("upright", "--exif"), ("lying", "--no-exif")):
        assert cli.main([*command, str(tmp_path / name), flag, "--workers", "1"]) == 0
        splits = ("train", "validation", "test")
        found = [record for split in splits for record in read_all(tmp_path / name, split)]
        sizes[name] = sorted(features["image_height"] for features in found)
        assert "too many pixels" in (tmp_path / name / "discarded.csv").read_text()
    assert sizes == {"upright": [16] * 8 + [24] * 2, "lying": [16] * 10}
    assert cli.main([*command, str(tmp_path / "lying"), "--resume", "--no-exif"]) == 0


def test_options_of_beam_come_typed_from_the_command_line(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(
        "data.conversion.convert.convert", lambda *_, **options: given.update(options)
    )
    texts = ("num_workers=4", "labels=team=cats", "labels=cost=low")
    flags = [part for text in texts for part in ("--dataflow-option", text)]
    assert cli.main(["convert", "x", *flags]) == 0
    assert parse_options(given["dataflow_options"]) == {
        "num_workers": 4,
        "labels": ["team=cats", "cost=low"],
    }


def test_wrong_arguments_are_status_2():
    command = [sys.executable, "-m", "data", "sample", "--colour", "x"]
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 2


def test_sample_if_absent(tmp_path, capsys):
    command = ["sample", str(tmp_path / "photos"), "--count", "4", "--size", "40", "--if-absent"]
    assert cli.main(command) == 0 and cli.main(command) == 0
    assert capsys.readouterr().out.count("4 drawn sample photos") == 2
    assert cli.main(command[:2]) == 2
