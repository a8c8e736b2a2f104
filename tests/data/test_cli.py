import subprocess
import sys

import pandas as pd
import pytest

from data import cli
from tests.data.drawn import encoded, photo_folder, picture


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


def test_wrong_arguments_are_status_2():
    command = [sys.executable, "-m", "data", "sample", "--colour", "x"]
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 2


def test_sample_if_absent(tmp_path, capsys):
    command = ["sample", str(tmp_path / "photos"), "--count", "4", "--size", "40", "--if-absent"]
    assert cli.main(command) == 0 and cli.main(command) == 0
    assert capsys.readouterr().out.count("4 drawn sample photos") == 2
    assert cli.main(command[:2]) == 2
