import tempfile

import pytest

from pipeline import placement
from pipeline.config.files import load_config
from pipeline.config.schema import RecordsConfig
from tests.pipeline.cloud.settings import cloud_config

LOCAL = ["--runner=FnApiRunner", "--sdk_container_image=none"]


def config_of(*settings: str, photos: int = 400):
    records = RecordsConfig(
        path="records",
        labels=("cat", "dog"),
        patterns={"train": "train*"},
        counts={"train": {"cat": photos // 2, "dog": photos - photos // 2}},
        features=("image",),
    )
    return load_config(None, [*settings]).model_copy(update={"records": records})


def test_few_photos_take_one_process():
    assert placement.beam_arguments(config_of()) == LOCAL


@pytest.mark.parametrize(
    ("photos", "cores", "processes"),
    [
        (1_000_000, 1, 1),
        (20_000, 2, 1),
        (40_000, 2, 2),
        (4_000, 8, 1),
        (20_000, 8, 8),
        (20_000, 96, 8),
    ],
)
def test_processes_by_photos_and_cores(photos, cores, processes, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    assert placement.beam_processes(config_of(photos=photos)) == processes


def test_other_machines_keep_one_process():
    config = cloud_config("cloud.dataflow=null")
    config = config.model_copy(update={"records": config_of(photos=1_000_000).records})
    assert placement.beam_arguments(config) == LOCAL


def test_processes_that_are_set():
    assert placement.beam_arguments(config_of("beam.processes=3")) == [
        *LOCAL,
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=3",
    ]


def test_flags_of_the_user_are_not_overridden():
    own = ["--runner=FnApiRunner", "--direct_num_workers=4"]
    config = config_of(f"beam.pipeline_args={own}", photos=1_000_000)
    assert placement.beam_arguments(config) == [*own, LOCAL[1]]


@pytest.mark.parametrize("processes", ["0", "many", "1.5"])
def test_invalid_processes_are_refused(processes):
    with pytest.raises(ValueError, match=r"beam\.processes"):
        config_of(f"beam.processes={processes}")


def test_other_runners_get_the_flags_that_are_set():
    flags = ["--runner=FlinkRunner", "--flink_master=host:8081"]
    config = config_of(f"beam.pipeline_args=[{', '.join(flags)}]", "beam.processes=3")
    assert placement.beam_arguments(config) == flags


def test_packages_that_are_set_stay():
    flags = ["--runner=FnApiRunner", "--setup_file=./setup.py"]
    config = config_of(f"beam.pipeline_args=[{', '.join(flags)}]")
    assert placement.beam_arguments(config) == flags


def test_an_executor_leaves_nothing_among_temporary_files(tmp_path, monkeypatch):
    """TFX packages itself, 49 MB a component, unless the flags name an image."""
    from tfx.components.statistics_gen.executor import Executor

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = Executor.Context(beam_pipeline_args=placement.beam_arguments(config_of()))
    monkeypatch.setattr("sys.argv", ["test"])
    executor = Executor(context)
    assert LOCAL[1] in executor._beam_pipeline_args
    assert not list(tmp_path.iterdir())
