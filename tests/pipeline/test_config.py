import pytest
import yaml

from pipeline.config_files import ConfigError, load


def test_layers_lie_over_each_other(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("trainer: {epochs: 7, batch_size: 16}\n")
    config = load(file, ["trainer.epochs=3", "model.name=article_cnn"])
    assert (config.trainer.epochs, config.trainer.batch_size) == (3, 16)
    assert (config.model.name, config.model.image_size) == ("article_cnn", 150)
    assert config.gate.bounds, "base.yaml has the bounds"


@pytest.mark.parametrize("name", ["local", "production"])
def test_shipped_configs_are_valid(name):
    assert load(f"conf/{name}.yaml").root


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("trainer.epoch=3", ["trainer.epoch", "did you mean trainer.epochs"]),
        ("gates.bounds=[]", ["gates", "did you mean gate"]),
        ("xyz=1", ["unknown setting xyz", "known here", "trainer"]),
        ("trainer.epochs=zero", ["trainer.epochs", "integer", "'zero'"]),
        ("trainer.epochs=0", ["trainer.epochs", ">= 1"]),
        ("gate.bounds=[]", ["gate.bounds is empty"]),
        ("gate.bounds=[{metric: acc, min: 1}]", ["gate.bounds.0.metric", "'acc'"]),
        ("gate.bounds=[{metric: accuracy, mim: 1}]", ["did you mean gate.bounds.0.min?"]),
        ("gate.bounds=[{metric: accuracy}]", ["needs one of"]),
        ("gate.bounds=[{metric: loss, max_change: 0}]", ["first model would pass unjudged"]),
        ("gate.bounds=[{metric: auc, slice_by: label, min: 1}]", ["auc compares labels"]),
        (
            "gate.bounds=[{metric: loss, max: 1}, {metric: loss, max: 2}]",
            ["two entries", "('loss', None, None, False)"],
        ),
        ("gate.bounds=[{metric: loss, label: cat, max: 1}]", ["goes with precision and recall"]),
        ("gate.bounds=[{metric: auc, min: 1, confident: true}]", ["gate.intervals is not set"]),
        ("gate.edges={image_size: [512, 128]}", ["must ascend"]),
        ("data.split=[0.5, 0.1, 0.1]", ["sum to 1"]),
        ("model.name=resnet", ["unknown model", "article_cnn", "pawnet"]),
        ("name=Not A Name", ["name", "pattern"]),
        ("trainer", ["section.key=value", "'trainer'"]),
        ("trainer.epochs=[", ["not YAML"]),
    ],
)
def test_what_is_wrong_is_named(override, parts):
    with pytest.raises(ConfigError) as error:
        load(None, [override])
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [("a: [", "not YAML"), ("- 1\n", "expected `section:` keys"), (None, "cannot read")],
)
def test_unusable_files_are_named(tmp_path, content, part):
    file = tmp_path / "broken.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml") as error:
        load(file)
    assert part in str(error.value)


def test_a_resolved_config_can_be_read_back(tmp_path):
    config = load("conf/production.yaml", ["trainer.seed=4"])
    file = tmp_path / "resolved.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load(file) == config
