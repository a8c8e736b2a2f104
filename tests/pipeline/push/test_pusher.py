"""The Pusher's executor: pushes only with both blessings."""

import json

import pytest
from tfx.types import standard_artifacts

from pipeline.artifacts.saved_model import DIGEST, model_digest
from pipeline.artifacts.version_folder import versions
from pipeline.components.pusher import BlessedPushExecutor
from pipeline.config.push import PushConfig, VertexConfig
from pipeline.push.target import PushError


@pytest.fixture
def push(tmp_path):
    def run(
        model_blessed: bool | None = True,
        infra_blessed: bool | None = True,
        options: PushConfig | None = None,
        judged: str | None = None,
    ):
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / "model")
        saved = tmp_path / "model" / "Format-Serving"
        saved.mkdir(parents=True, exist_ok=True)
        (saved / "saved_model.pb").write_text("a")
        blessing, infra = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
        for judgement in (blessing, infra):
            judgement.set_string_custom_property(DIGEST, judged or model_digest(str(saved)))
        blessing.set_int_custom_property("blessed", int(model_blessed or 0))
        infra.set_int_custom_property("blessed", int(infra_blessed or 0))
        given = {"model": [model]}
        given |= {"model_blessing": [blessing]} if model_blessed is not None else {}
        given |= {"infra_blessing": [infra]} if infra_blessed is not None else {}
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "pushed")
        settings = {
            "options": (options or PushConfig()).model_dump(mode="json"),
            "folder": str(tmp_path / "serving"),
            "present": "",
        }
        properties = {"custom_config": json.dumps(settings)}
        BlessedPushExecutor().Do(given, {"pushed_model": [pushed]}, properties)
        return pushed

    return run


def test_version_and_destination_are_recorded_as_tfx_does(push, tmp_path):
    pushed = push()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == "1"
    assert pushed.get_string_custom_property("pushed_destination") == str(
        tmp_path / "serving" / "1"
    )


@pytest.mark.parametrize(
    "blessings", [(False, True), (True, False), (False, False), (None, True), (True, None)]
)
def test_nothing_is_pushed_without_both_blessings(blessings, push, tmp_path):
    assert push(*blessings).get_int_custom_property("pushed") == 0
    assert versions(tmp_path / "serving") == []


def test_the_folder_target_needs_a_file_system(push, tmp_path):
    from pipeline.push.targets import make_target

    with pytest.raises(PushError, match=r"gs://bucket/serving is not on a file system"):
        make_target(PushConfig(), "gs://bucket/serving")


def test_another_target_is_pushed_to_and_recorded_alike(push, storage):
    from tests.standins.vertex_prediction import VertexPredictionStandIn

    with VertexPredictionStandIn(storage) as service:
        vertex = VertexConfig(
            project="my-project",
            region="us-central1",
            models_at="gs://bucket/models",
            model="cats-dogs",
            api_endpoint=service.url,
        )
        options = PushConfig(target="vertex", vertex=vertex)
        assert push(False, True, options).get_int_custom_property("pushed") == 0
        assert not service.requests and not storage.names("gs://bucket/")
        pushed = push(True, True, options)
    assert pushed.get_string_custom_property("pushed_version") == "1"
    destination = pushed.get_string_custom_property("pushed_destination")
    assert destination == "projects/my-project/locations/us-central1/models/cats-dogs@1"
    assert list(service.models["cats-dogs"]) == ["1"]


def test_files_that_the_gates_did_not_judge_are_not_pushed(push, tmp_path):
    with pytest.raises(
        PushError, match=r"model/Format-Serving is not the one that the gates evaluated"
    ):
        push(judged="0" * 64)
    assert versions(tmp_path / "serving") == []
