import pytest

import data
from data import DataError
from data.conversion import beam_job
from tests.data.drawn import image_table, manifest_of
from tests.data.stored import remote_table
from tests.data.test_convert import convert, tree
from tests.data.test_discards import spoiled

REMOTE = {"project": "p-123456", "region": "europe-west4", "runner": "DataflowRunner"}


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_the_beam_pipeline_writes_the_same_folder(tmp_path, encoding):
    table = spoiled(tmp_path / "photos")
    here = convert(table, tmp_path / "here", encoding=encoding, num_shards=2)
    beam = convert(table, tmp_path / "beam", encoding=encoding, num_shards=2, runner="FnApiRunner")
    assert tree(tmp_path / "beam") == tree(tmp_path / "here")
    assert beam["metrics"] == here["metrics"] and beam["job_id"] == "FnApiRunner"


def test_errors_of_the_pipeline_are_data_errors(tmp_path):
    table = spoiled(tmp_path / "photos")
    with pytest.raises(DataError, match="Too many bad photos: 4 of 16") as raised:
        convert(table, tmp_path / "out", runner="FnApiRunner", max_bad_fraction=0.1)
    assert len(raised.value.discarded) == 4
    made = convert(
        table, tmp_path / "out", runner="FnApiRunner", max_bad_fraction=0.25, resume=True
    )
    assert made["metrics"]["good_images"] == 10


def test_a_conversion_without_good_rows_leaves_nothing_behind(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 1, "TEST": 1})
    (tmp_path / "photos" / "TRAIN-000.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="No records for TRAIN"):
        convert(table, tmp_path / "out", runner="FnApiRunner")
    assert not (tmp_path / "out").exists()


def test_a_job_keeps_the_shards_that_an_earlier_one_finished(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 40})
    options = {"runner": "FnApiRunner", "num_shards": 4, "resume": True}
    convert(table, tmp_path / "whole", **options)
    broken = beam_job.write_shard_once
    out = tmp_path / "out"

    def fails_at_the_last(job, folder):
        if job["file"].startswith("train-00003"):
            raise RuntimeError("the machine is gone")
        return broken(job, folder)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="is gone"):
        patch.setattr(beam_job, "write_shard_once", fails_at_the_last)
        convert(table, out, **options)
    with pytest.raises(DataError, match="unfinished conversion"):
        data.describe(out)
    survivors = {path: path.stat().st_mtime_ns for path in out.glob("train-*")}
    assert survivors
    convert(table, out, **options)
    assert tree(out) == tree(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in survivors} == survivors


def test_an_unknown_runner_is_refused(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 2})
    with pytest.raises(DataError, match=r"Unknown runner: 'Dataflow'[\s\S]*DataflowRunner"):
        convert(table, tmp_path / "out", runner="Dataflow")
    assert not (tmp_path / "out").exists()


def gs(table):
    return table.assign(image_uri="gs://bucket/photos/" + table["image_uri"].str.split("/").str[-1])


def local_photos(table):
    return table, {}, r"workers cannot read 2 local photos, such as row 1: "


def no_project(table):
    return (
        gs(table),
        {"project": None, "region": None},
        r"project= is mis[\s\S]*region= is mis",
    )


def local_folder(table):
    return gs(table), {"output_dir": "here"}, "output_dir is not on gs://: here"


def unknown_option(table):
    return gs(table), {"dataflow_options": {"num_worker": 3}}, r"'num_worker'[\s\S]*num_workers"


def no_such_package(table):
    return gs(table), {"dataflow_options": {"setup_file": "/none/setup.py"}}, "no such file"


def bad_label(table):
    return gs(table), {"dataflow_options": {"labels": ["Team=Cats"]}}, "label must match"


def local_temp(table):
    return gs(table), {"dataflow_options": {"temp_location": "here/tmp"}}, "temp_location is not on"


def bad_project(table):
    return gs(table), {"project": "Not A Project"}, "project must match"


def wrong_type(table):
    return gs(table), {"dataflow_options": {"num_workers": "four"}}, "num_workers: invalid int"


def wrong_machine(table):
    return gs(table), {"dataflow_options": {"machine_type": 7}}, "machine_type must be like"


def letters(table):
    return gs(table), {"dataflow_options": {"extra_packages": "x.whl"}}, "no such file: x.whl"


@pytest.mark.parametrize(
    "case",
    [
        wrong_type,
        wrong_machine,
        letters,
        local_photos,
        no_project,
        local_folder,
        unknown_option,
        no_such_package,
        bad_label,
        local_temp,
        bad_project,
    ],
)
def test_what_dataflow_would_refuse_is_an_error_before_anything_is_sent(
    tmp_path, monkeypatch, case
):
    monkeypatch.setattr(beam_job, "_stage_jobs", lambda *_: pytest.fail("something was sent"))
    table, options, message = case(image_table(tmp_path, {"TRAIN": 2}))
    options = {"output_dir": "gs://bucket/out"} | REMOTE | options
    with pytest.raises(DataError, match=message):
        data.convert(table, **options)


def test_job_names_are_valid_on_dataflow():
    from data.conversion.beam_options import job_name

    assert job_name("gs://b/tfrecorder-20260101-000000-My_Cats", "My_Cats") == (
        "tfrecorder-20260101-000000-my-cats"
    )
    assert job_name("gs://b/cats", "convert") == "cats-convert"
    assert job_name("gs://b/tfrecorder-20260101-000000-My-Cats", "My_Cats") == (
        "tfrecorder-20260101-000000-my-cats"
    )


def test_options_are_parsed_like_flags_of_beam():
    from data.conversion.beam_options import parse_options

    given = {"num_workers": "4", "labels": "team=cats", "experiments": ("a", "b"), "region": None}
    switches = {"save_main_session": "true", "use_public_ips": False, "streaming": "false"}
    assert parse_options(given | switches) == {
        "num_workers": 4,
        "labels": ["team=cats"],
        "experiments": ["a", "b"],
        "save_main_session": True,
        "use_public_ips": False,
        "streaming": False,
    }
    by_flag = {"no_use_public_ips": True, "worker_machine_type": "n1-standard-1"}
    assert parse_options(by_flag) == {"use_public_ips": False, "machine_type": "n1-standard-1"}
    assert parse_options({"no_use_public_ips": False}) == {}
    with pytest.raises(DataError, match="expected one argument"):
        parse_options({"machine_type": True})


@pytest.mark.parametrize("error", [RuntimeError("no network"), KeyboardInterrupt()], ids=repr)
def test_a_job_that_was_not_sent_leaves_nothing_behind(tmp_path, bucket, monkeypatch, error):
    address, storage = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 2})

    def fails(*_):
        raise error

    monkeypatch.setattr(beam_job, "_pipeline", fails)
    with pytest.raises(type(error)):
        data.convert(there, f"{address}/out", **REMOTE)
    assert not storage.names(f"{address}/out")


def test_interrupted_staging_is_done_again(tmp_path, bucket):
    address, storage = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 8})
    options = {"num_shards": 4, "runner": "FnApiRunner", "resume": True}
    storage.fail(lambda r: r.method == "POST" and b".work/jobs/train-00003" in r.body, 403)
    with pytest.raises(OSError, match="told to fail"):
        data.convert(there, f"{address}/out", **options)
    storage.recover()
    assert data.convert(there, f"{address}/out", **options)["metrics"]["good_images"] == 8


def test_the_manifest_of_a_beam_job_names_the_same_plan(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 3})
    convert(table, tmp_path / "a")
    convert(table, tmp_path / "b", runner="FnApiRunner")
    assert manifest_of(tmp_path / "a")["plan"] == manifest_of(tmp_path / "b")["plan"]
