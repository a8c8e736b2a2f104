"""Error messages of Dataflow jobs: Beam's own client against the stand-in."""

import time
from types import SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.cloud.dataflow import translate_error
from pipeline.cloud.errors import CloudError, NoAnswerError
from tests.standins.accounts import TokenStandIn, forget_login
from tests.standins.dataflow import DataflowStandIn, JobFailed
from tests.standins.storage import StorageStandIn

TRACEBACK = """Traceback (most recent call last):
  File "apache_beam/internal/cloudpickle_pickler.py", line 253, in loads
    unpickled = cloudpickle.loads(s)
{said} [while running 'Double-ptransform-12']
"""


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """A client's environment with Cloud Storage and credentials."""
    with StorageStandIn("bucket") as storage, TokenStandIn() as tokens:
        key = tokens.write_key(tmp_path_factory.mktemp("key") / "key.json")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", storage.url)
            patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
            patch.setenv("NO_GCE_CHECK", "true")
            forget_login()
            yield storage
            forget_login()


@pytest.fixture(autouse=True)
def _client_in_a_hurry(monkeypatch):
    """Shortens the polling interval of Beam's client."""
    hurried = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 50), time=time.time)
    monkeypatch.setattr("apache_beam.runners.dataflow.dataflow_runner.time", hurried)
    monkeypatch.setattr("apitools.base.py.http_wrapper.time", hurried)
    monkeypatch.setattr("apache_beam.utils.retry.Clock.sleep", lambda *_: None)


def submit(dataflow, wait=True):
    """Runs a small job; raises the translated error."""
    options = {
        "runner": "DataflowRunner",
        "project": "my-project",
        "region": "europe-west4",
        "temp_location": "gs://bucket/tmp",
        "staging_location": "gs://bucket/staging",
        "job_name": "double",
        "sdk_container_image": "here/image:1",
        "dataflow_endpoint": dataflow.url.replace("127.0.0.1", "localhost"),
    }
    pipeline = beam.Pipeline(options=PipelineOptions(flags=[], **options))
    _ = pipeline | beam.Create([1, 2]) | "Double" >> beam.Map(lambda number: 2 * number)
    try:
        submitted = pipeline.run()
        return submitted.wait_until_finish() if wait else submitted
    except Exception as error:
        told = translate_error(error)
        assert told.__cause__ is error or told is error
        raise told from error


def fails(said):
    def machines(job):
        time.sleep(0.5)
        raise JobFailed(TRACEBACK.format(said=said))

    return machines


@pytest.mark.parametrize("module", ["models", "pipeline.gate.evaluation", "data.record.records"])
def test_workers_without_the_project_are_reported(google, module):
    machines = fails(f"ModuleNotFoundError: No module named '{module}'")
    with DataflowStandIn(machines) as dataflow, pytest.raises(CloudError) as told:
        submit(dataflow)
    text = str(told.value)
    assert f"no module '{module.split('.')[0]}'" in text
    assert "cloud.image" in text and "--setup_file" in text and "sdk_container_image" in text
    (job,) = dataflow.jobs
    assert f"console.cloud.google.com/dataflow/jobs/europe-west4/{job}?project=my-project" in text
    assert "Traceback" not in text


def test_any_other_failure_names_the_exception_of_the_worker(google):
    machines = fails("ValueError: No module named 'models_of_mine'")
    with DataflowStandIn(machines) as dataflow, pytest.raises(CloudError) as told:
        submit(dataflow)
    assert "Worker error: ValueError: No module named 'models_of_mine' [while" in str(told.value)
    assert "--setup_file" not in str(told.value)


def test_a_failure_without_a_message(google):
    def fails_at_once(job):
        dataflow.states[job["id"]] = "JOB_STATE_FAILED"

    with DataflowStandIn(fails_at_once) as dataflow, pytest.raises(CloudError) as told:
        submit(dataflow)
    assert "failed. The service gave no reason." in str(told.value)


def test_a_cancelled_job_is_reported(google):
    def is_cancelled(job):
        time.sleep(0.5)
        dataflow.cancel(job["id"])

    with (
        DataflowStandIn(is_cancelled) as dataflow,
        pytest.raises(CloudError, match=r"was cancelled\. The run stops here"),
    ):
        submit(dataflow)


@pytest.mark.parametrize(
    "status, advice", [(403, "docs/production.md"), (429, "quota"), (401, "application-default")]
)
def test_a_refused_job_says_what_to_do(google, status, advice):
    with DataflowStandIn() as dataflow:
        dataflow.fail(lambda request: request.method == "POST", status)
        with pytest.raises(CloudError, match=rf"\({status}\): told to fail\. .*{advice}"):
            submit(dataflow)
    assert not dataflow.jobs


def test_a_service_that_does_not_answer_is_reported(google):
    with DataflowStandIn() as dataflow:
        pass
    with pytest.raises(NoAnswerError, match="no answer from Google Cloud"):
        submit(dataflow)


def test_other_errors_are_unchanged():
    error = ValueError("mine")
    assert translate_error(error) is error


class LosesTheFirstReply(DataflowStandIn):
    def _answer(self, request):
        answer = super()._answer(request)
        if request.method == "POST" and len(self.requests) == 1:
            raise ConnectionResetError  # the connection is cut
        return answer


def test_a_lost_reply_makes_no_second_job(google):
    with LosesTheFirstReply(lambda job: time.sleep(0.5)) as dataflow:
        assert submit(dataflow) == "DONE"
    created = [request for request in dataflow.requests if request.method == "POST"]
    assert len(created) == 2 and len(dataflow.jobs) == 1
