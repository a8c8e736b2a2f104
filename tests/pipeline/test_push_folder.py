import pytest

from pipeline.push_folder import push, versions


@pytest.fixture
def model(tmp_path):
    def make(content: str):
        folder = tmp_path / f"model-{content}"
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_text(content)
        (folder / "variables" / "v").write_text(content)
        return folder

    return make


def test_versions_count_up_and_old_ones_go(model, tmp_path):
    serving = tmp_path / "serving"
    assert versions(serving) == []
    assert [push(model(c), serving, keep_last=2) for c in "abcd"] == [1, 2, 3, 4]
    assert versions(serving) == [3, 4]
    assert (serving / "4" / "variables" / "v").read_text() == "d"


def test_the_newest_version_is_not_pushed_twice(model, tmp_path):
    serving = tmp_path / "serving"
    first, second = model("a"), model("b")
    assert push(first, serving, 5) == push(first, serving, 5) == 1
    assert push(second, serving, 5) == 2
    assert push(first, serving, 5) == 3, "an older model again is a new version"


def test_a_push_killed_half_way_is_cleared_away(model, tmp_path):
    serving = tmp_path / "serving"
    (serving / ".incoming-1").mkdir(parents=True)
    assert versions(serving) == []
    assert push(model("a"), serving, 5) == 1
    assert sorted(p.name for p in serving.iterdir()) == ["1"]
