"""Photos on gs:// become records by a job on Dataflow: Beam's own client against the stand-in."""

import re
import sys
import threading
import time

import pandas as pd
import pytest

from pipeline.cloud.errors import CloudError
from pipeline.run import conversion
from tests.pipeline.cloud.conftest import on_dataflow
from tests.pipeline.cloud.received import check_job
from tests.pipeline.cloud.settings import BUCKET

# As most digests do, it begins with a digit; the names of jobs may not.
FOLDER = f"gs://{BUCKET}/pawprint/records/1f3a5b7c9d0e"
PHOTOS = pd.DataFrame(
    [
        (split, f"gs://{BUCKET}/photos/{label}/{split}.jpg", label)
        for split in ("TRAIN", "VALIDATION")
        for label in ("cat", "dog")
    ],
    columns=["split", "image_uri", "label"],
)


@pytest.fixture
def config(cloud, dataflow):
    network = "cloud.subnetwork=regions/us-central1/subnetworks/main"
    return cloud.config(on_dataflow(dataflow), "cloud.labels={team: cats}", network)


@pytest.fixture
def convert(config, monkeypatch):
    monkeypatch.setattr(conversion, "_POLL_S", 0.1)
    return lambda: conversion.convert(config, PHOTOS, FOLDER, encoding="jpeg", resume=True)


def finish(cloud, dataflow):
    """The job that is submitted next does its work."""
    while not dataflow.jobs:
        time.sleep(0.05)
    (job,) = dataflow.jobs
    cloud.storage.put(f"{FOLDER}/manifest.json", b"{}")
    dataflow.states[job] = "JOB_STATE_DONE"


def test_a_folder_that_begins_with_a_digit_is_converted(cloud, dataflow, config, convert, caplog):
    threading.Thread(target=finish, args=(cloud, dataflow), daemon=True).start()
    convert()
    same = sys.version_info[:2] == (3, 12)
    assert ("a job needs the same on both sides" in caplog.text) is not same
    (job,) = dataflow.jobs.values()
    assert re.fullmatch(r"convert-[0-9a-f]{12}", job["name"])
    check_job(job, config)


def test_an_active_job_is_waited_for(cloud, dataflow, convert):
    first = threading.Thread(target=convert)
    first.start()
    while not dataflow.jobs:
        time.sleep(0.05)
    jobs = f"{FOLDER}/.work/"
    staged = cloud.storage.names(jobs)
    threading.Timer(1, finish, args=(cloud, dataflow)).start()
    convert()
    first.join()
    assert len(dataflow.jobs) == 1
    assert staged and cloud.storage.names(jobs) == staged


def test_a_job_that_is_done_and_left_no_records_is_an_error(dataflow, convert, monkeypatch):
    def done(*_):
        dataflow.states.update(dict.fromkeys(dataflow.states, "JOB_STATE_DONE"))

    monkeypatch.setattr(conversion.time, "sleep", done)
    with pytest.raises(CloudError, match=r"is done, but gs://.*/manifest\.json does not exist"):
        convert()


def test_a_job_that_is_cancelled_is_an_error_of_the_cloud(dataflow, convert, monkeypatch):
    def cancelled(*_):
        for job in dataflow.jobs:
            dataflow.cancel(job)

    monkeypatch.setattr(conversion.time, "sleep", cancelled)
    with pytest.raises(CloudError, match=r"not converted\. Dataflow job 2026.* was cancelled"):
        convert()


def test_a_refused_request_says_what_to_do(dataflow, convert):
    dataflow.fail(lambda request: request.method == "POST", 403)
    with pytest.raises(CloudError, match=r"Dataflow refused the request \(403\): told to fail\. "):
        convert()


def test_expired_credentials_are_reported(cloud, dataflow, convert):
    cloud.tokens.expired = True
    with pytest.raises(CloudError, match=r"expired or were revoked\. .*gcloud auth application"):
        convert()
    assert dataflow.requests == []


def test_an_interruption_cancels_the_job(dataflow, convert, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion.time, "sleep", interrupted)
    with pytest.raises(CloudError, match="is being cancelled; the same command resumes"):
        convert()
    assert [*dataflow.states.values()] == ["JOB_STATE_CANCELLED"]
