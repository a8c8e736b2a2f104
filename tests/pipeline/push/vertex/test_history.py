"""History on Vertex AI: order of versions, targets of a rollback, `keep_last`."""

import datetime

import pytest

from pipeline.push.target import PushError
from tests.pipeline.push.vertex.holds import shown


def test_an_older_model_that_is_pushed_again_is_the_newest(target, model, service):
    for c in "aba":
        pushed = target().push(model(c))
    assert pushed.version == "1" and len(service.models["cats-dogs"]) == 2
    assert shown(target()) == [("2", "kept", 0), ("1", "served", 100)]
    assert target().status().notes == ()
    assert target().rollback() == "2"
    assert shown(target()) == [("2", "served", 100), ("1", "rolled back", 0)]
    with pytest.raises(PushError, match=r"is version 1 of .*, which was rolled back"):
        target().push(model("a"))


def test_an_older_model_as_a_canary_is_rolled_back(target, model, service):
    for c in "ab":
        target().push(model(c))
    target(canary_percent=10).push(model("a"))
    assert shown(target()) == [("1", "canary", 10), ("2", "served", 90)]
    assert target().rollback() == "2"
    assert shown(target()) == [("1", "rolled back", 0), ("2", "served", 100)]


def test_a_rollback_skips_a_replaced_canary(target, model):
    target().push(model("a"))
    for c in "bc":
        target(canary_percent=10).push(model(c))
    target().promote()
    assert target().rollback() == "1"


def test_old_versions_are_deleted_except_the_previous_one(target, model, service):
    for c in "abcd":
        target(keep_last=1).push(model(c))
    assert list(service.models["cats-dogs"]) == ["3", "4"]


def test_keep_last_never_removes_a_rolled_back_version(target, model, service):
    for c in "abc":
        target().push(model(c))
    target().rollback("1")
    for c in "de":
        target(keep_last=1).push(model(c))
    assert list(service.models["cats-dogs"]) == ["2", "3", "4", "5"]
    with pytest.raises(PushError, match=r"is version 2 of .*, which was rolled back"):
        target().push(model("b"))


def test_what_another_push_is_about_to_deploy_is_not_deleted(target, model, service):
    target().push(model("a"))
    for c in "bc":
        service.doom("deployModel", "killed here")
        with pytest.raises(PushError, match="killed here"):
            target().push(model(c))
    target(keep_last=1).push(model("d"))
    versions = service.models["cats-dogs"]
    assert list(versions) == ["1", "2", "3", "4"]
    for number in "23":  # by now those pushes have ended, one way or the other
        versions[number].version_create_time -= datetime.timedelta(hours=1)
    target(keep_last=1).push(model("e"))
    assert list(versions) == ["4", "5"]
