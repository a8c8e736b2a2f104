"""Photos, records and jobs on Google Cloud, against local stand-ins of its services."""

import json
import re

import pandas as pd
import pytest

import data
from data import DataError, cli
from tests.data.drawn import photo_folder
from tests.data.stored import remote_table, remote_tree, upload
from tests.data.test_convert import quiet, tree
from tests.standins.dataflow import DataflowStandIn


def without_source(folder):
    """The files of a folder, with a manifest without the source of the rows."""
    manifest = json.loads(folder["manifest.json"])
    return folder | {"manifest.json": manifest | {"source": "", "plan": ""}}


def read_tree(folder):
    return {name: (folder / name).read_bytes() for name in tree(folder)}


def test_a_folder_in_the_store_becomes_an_image_csv(tmp_path, bucket):
    address, storage = bucket
    photo_folder(tmp_path / "photos", {"cats, big": 20, "düg": 20})
    upload(storage, tmp_path / "photos", f"{address}/photos")
    storage.put(f"{address}/photos/.hidden/x.jpg", b"x")
    storage.put(f"{address}/photos/README", b"x")
    storage.put(f"{address}/photos/cats, big/", b"")  # a folder as the console creates it
    storage.requests.clear()
    assert cli.main(["csv", f"{address}/photos", f"{address}/data.csv"]) == 0
    assert not any(request.query.get("alt") == "media" for request in storage.requests)
    table = data.read_csv(f"{address}/data.csv")
    assert table.groupby(["split", "label"]).size().to_dict() == {
        ("TRAIN", "cats, big"): 16,
        ("TRAIN", "düg"): 16,
        ("VALIDATION", "cats, big"): 2,
        ("VALIDATION", "düg"): 2,
        ("TEST", "cats, big"): 2,
        ("TEST", "düg"): 2,
    }
    assert table["image_uri"].str.startswith(f"{address}/photos/").all()


@pytest.mark.parametrize("runner", ["DirectRunner", "FnApiRunner"])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_the_store_gets_the_same_records(tmp_path, bucket, runner, encoding):
    address, storage = bucket
    there, here = remote_table(tmp_path, bucket, {"TRAIN": 40, "TEST": 3})
    options = {"encoding": encoding, "num_shards": 3, "progress": quiet}
    made = data.convert(there, tfrecord_dir=f"{address}/out", runner=runner, **options)
    data.convert(here, tfrecord_dir=tmp_path / "out", **options)
    found = without_source(remote_tree(storage, f"{address}/out"))
    assert found == without_source(read_tree(tmp_path / "out"))
    assert made["metrics"] == {"rows": 43, "good_images": 43, "bad_images": 0}
    described = data.describe(f"{address}/out")
    assert described.counts == data.describe(tmp_path / "out").counts


def test_a_missing_photo_in_the_store_is_discarded(tmp_path, bucket):
    address, _ = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 4})
    there.loc[1, "image_uri"] = f"{address}/photos/gone.jpg"
    made = data.convert(there, tfrecord_dir=tmp_path / "out", progress=quiet)
    assert made["metrics"]["bad_images"] == 1
    listed = pd.read_csv(tmp_path / "out" / "discarded.csv")
    assert listed[["row", "reason"]].values.tolist() == [[2, "not found"]]


def test_an_unfinished_conversion_in_the_store_is_refused_and_resumable(tmp_path, bucket):
    address, storage = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 40})
    options = {"tfrecord_dir": f"{address}/out", "num_shards": 4, "workers": 1, "progress": quiet}
    options["encoding"] = "jpeg"
    storage.fail(lambda r: r.method == "POST" and b"train-00002" in r.body, 403, times=1)
    with pytest.raises(DataError, match="could not be finished") as raised:
        data.convert(there, **options)
    assert "told to fail" in str(raised.value)
    with pytest.raises(DataError, match="unfinished conversion"):
        data.describe(f"{address}/out")
    with pytest.raises(DataError, match="exists already"):
        data.convert(there, **options)
    storage.requests.clear()
    data.convert(there, resume=True, **options)
    sent = [r.body for r in storage.requests if r.method == "POST"]
    assert not any(b'"name": "' in body and b"train-00000" in body[:300] for body in sent)
    assert sum(data.describe(f"{address}/out").counts["train"].values()) == 40


def test_missing_credentials_are_an_error(monkeypatch, bucket):
    from data.storage import gs

    address, _ = bucket
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    gs._client.cache_clear()
    with pytest.raises(DataError, match="No credentials for Google Cloud"):
        data.scan(f"{address}/photos")
    gs._client.cache_clear()


def test_the_real_client_submits_a_job_that_runs_with_what_it_staged(tmp_path, bucket):
    address, storage = bucket
    there, here = remote_table(tmp_path, bucket, {"TRAIN": 40, "VALIDATION": 4})
    there.to_csv(tmp_path / "data.csv", index=False)
    with DataflowStandIn() as dataflow:
        endpoint = dataflow.url.replace("127.0.0.1", "localhost")  # the form that Beam accepts
        made = pd.read_csv(tmp_path / "data.csv").tensorflow.to_tfr(
            output_dir=f"{address}/tfrecords",
            runner="DataFlowRunner",
            project="my-project",
            region="europe-west4",
            tfrecorder_wheel="gs://bucket/tfrecorder.whl",
            dataflow_options={
                "dataflow_endpoint": endpoint,
                "num_workers": 3,
                "labels": ["team=cats"],
                "service_account_email": "w@my-project.iam.gserviceaccount.com",
            },
        )
        ((job_id, job),) = dataflow.jobs.items()
        assert set(made) == {"job_id", "dataflow_url", "tfrecord_dir"}
        assert made["job_id"] == job_id
        url = "https://console.cloud.google.com/dataflow/jobs/europe-west4/"
        assert made["dataflow_url"] == f"{url}{job_id}?project=my-project"
        folder = made["tfrecord_dir"]
        name = folder.rsplit("/", 1)[1]
        assert re.fullmatch(r"tfrecorder-\d{8}-\d{6}-to-tfr", name)

        assert dataflow.requests[0].path == "/v1b3/projects/my-project/locations/europe-west4/jobs"
        assert dataflow.requests[0].headers["authorization"] == "Bearer local"
        assert job["name"] == name
        assert job["labels"] == {"team": "cats"}
        assert job["type"] == "JOB_TYPE_BATCH"
        environment = job["environment"]
        assert environment["serviceAccountEmail"].startswith("w@")
        assert environment["workerPools"][0]["numWorkers"] == 3
        staged = {p["location"] for p in environment["workerPools"][0]["packages"]}
        assert any(location.endswith("/workflow.tar.gz") for location in staged)
        options = environment["sdkPipelineOptions"]["options"]
        assert options["temp_location"].startswith(f"{address}/tfrecords/tmp/")
        assert options["staging_location"].startswith(f"{address}/tfrecords/staging/")

        with pytest.raises(DataError, match="unfinished conversion"):
            data.describe(folder)
        (tmp_path / "worker").mkdir()
        dataflow.execute(job_id, storage, tmp_path / "worker")
    data.convert(here, tfrecord_dir=tmp_path / "out", progress=quiet)
    assert without_source(remote_tree(storage, folder)) == without_source(
        read_tree(tmp_path / "out")
    )


def test_a_refused_job_is_an_error(tmp_path, bucket):
    address, storage = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 2})
    with DataflowStandIn() as dataflow:
        dataflow.fail(lambda request: request.path.endswith("/jobs"), 403)
        with pytest.raises(DataError, match="Dataflow refused the job"):
            data.convert(
                there,
                f"{address}/out",
                runner="DataflowRunner",
                project="my-project",
                region="europe-west4",
                dataflow_options={
                    "dataflow_endpoint": dataflow.url.replace("127.0.0.1", "localhost")
                },
            )
    assert not [name for name in storage.names(address) if name.startswith("/out/tfrecorder")]
