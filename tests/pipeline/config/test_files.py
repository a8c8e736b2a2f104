import subprocess
import sys

import pytest
import yaml

from pipeline.config.files import ConfigError, load_config

DEFAULT = "efficientnet_lite0"


def test_layers_lie_over_each_other(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("trainer: {epochs: 7, batch_size: 16}\n")
    config = load_config(file, ["trainer.epochs=3", "model.name=article_cnn"])
    assert (config.trainer.epochs, config.trainer.batch_size) == (3, 16)
    assert (config.model.name, config.model.image_size) == ("article_cnn", 150)
    assert config.gate.bounds, "base.yaml has the bounds"


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        ([], 224),
        (["model.image_size=null"], 224),
        (["model.name=pawnet"], 150),
        (["model.name=pawnet", "model.image_size=null"], 150),
        (["model.name=pawnet", "model.image_size=64"], 64),
        (["model.image_size=192"], 192),
    ],
)
def test_the_size_of_images_is_the_architectures_unless_set(overrides, size):
    config = load_config(None, overrides)
    assert config.model.image_size == size
    assert config.model.name == ("pawnet" if "model.name=pawnet" in overrides else DEFAULT)


def test_the_defaults_suit_few_and_uneven_photos():
    trainer = load_config(None).trainer
    assert trainer.class_weights == "balanced"
    assert (trainer.preset, trainer.batch_size, trainer.mirrored_features) == (None, None, False)
    assert load_config(None, ["trainer.class_weights=null"]).trainer.class_weights is None
    weights = load_config(None, ["trainer.class_weights={cat: 1, dog: 3}"]).trainer.class_weights
    assert weights == {"cat": 1, "dog": 3}


@pytest.mark.parametrize("name", ["efficientnet_lite0", "pawnet", "pretrained"])
def test_a_config_is_read_without_tensorflow(name):
    code = (
        "import sys; from pipeline.config.files import load_config\n"
        f"print(load_config(None, ['model.name={name}']).model.image_size)\n"
        "print(sorted({'tensorflow', 'tf_keras', 'keras', 'tfx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, imported = done.stdout.splitlines()
    assert int(size) > 0 and imported == "[]"


@pytest.mark.parametrize("name", ["local", "production"])
def test_shipped_configs_are_valid(name):
    assert load_config(f"conf/{name}.yaml").root


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("trainer.epoch=3", ["trainer.epoch", "did you mean trainer.epochs"]),
        ("gates.bounds=[]", ["gates", "did you mean gate"]),
        ("xyz=1", ["unknown setting xyz", "known settings", "trainer"]),
        ("trainer.epochs=zero", ["trainer.epochs", "integer", "'zero'"]),
        ("trainer.epochs=0", ["trainer.epochs", ">= 1"]),
        ("gate.bounds=[]", ["gate.bounds is empty"]),
        ("gate.bounds=[{metric: acc, min: 1}]", ["gate.bounds.0.metric", "'acc'"]),
        ("gate.bounds=[{metric: accuracy, mim: 1}]", ["did you mean gate.bounds.0.min?"]),
        ("gate.bounds=[{metric: accuracy}]", ["needs one of"]),
        ("gate.bounds=[{metric: loss, max_change: 0}]", ["first model would pass unchecked"]),
        ("gate.bounds=[{metric: auc, slice_by: label, min: 1}]", ["auc compares labels"]),
        (
            "gate.bounds=[{metric: loss, max: 1}, {metric: loss, max: 2}]",
            ["two entries", "('loss', None, None, False)"],
        ),
        ("gate.bounds=[{metric: loss, label: cat, max: 1}]", ["label is for precision and recall"]),
        ("gate.bounds=[{metric: auc, min: 1, confident: true}]", ["gate.intervals is not set"]),
        ("gate.edges={image_size: [512, 128]}", ["must ascend"]),
        ("data.split=[0.5, 0.1, 0.1]", ["sum to 1"]),
        ("model.name=resnet", ["unknown model", "article_cnn", "efficientnet_lite0", "pawnet"]),
        ("model.image_size=16", ["model.image_size", "greater than or equal to 32", "16"]),
        ("model.image_size=big", ["model.image_size", "integer", "'big'"]),
        ("trainer.preset=quick", ["trainer.preset", "'fast'", "'balanced'", "'best'", "'quick'"]),
        ("trainer.fine_tuning_epoch=3", ["did you mean trainer.fine_tuning_epochs"]),
        ("trainer.batch_size=0", ["trainer.batch_size", ">= 1"]),
        ("name=Not A Name", ["name", "pattern"]),
        ("trainer", ["section.key=value", "'trainer'"]),
        ("trainer.epochs=[", ["not YAML"]),
    ],
)
def test_invalid_settings_are_named(override, parts):
    with pytest.raises(ConfigError) as error:
        load_config(None, [override])
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
        load_config(file)
    assert part in str(error.value)


def test_a_resolved_config_can_be_read_back(tmp_path):
    config = load_config("conf/production.yaml", ["trainer.seed=4"])
    file = tmp_path / "resolved.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(file) == config


@pytest.mark.parametrize("root", ["runs #2", "2026-11-29", "1e3", "null", "a: b", "'quoted'"])
def test_a_root_is_taken_literally(root):
    assert load_config(None, root=root).root == root


def test_a_leading_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert load_config(None, root="~/runs").root == "/home/me/runs"
    assert load_config(None, ["root=~/runs"]).root == "/home/me/runs"


@pytest.mark.parametrize("root", ["runs [1]", "runs*", "runs?"])
def test_a_root_that_is_a_pattern_is_refused(root):
    with pytest.raises(ConfigError, match="in a folder's name as a pattern"):
        load_config(None, root=root)


def test_text_settings_are_taken_literally():
    config = load_config(None, ["root=2026-11-29", "name=a1e3", "trainer.epochs=3"])
    assert (config.root, config.name, config.trainer.epochs) == ("2026-11-29", "a1e3", 3)
    assert load_config(None, ["root='runs #2'"]).root == "runs #2"
    assert load_config(None, ["root=runs #2"]).root == "runs #2"


def test_a_mapping_of_texts_is_a_mapping():
    labels = load_config("conf/production.yaml", ["cloud.labels={team: cats}"]).cloud.labels
    assert labels == {"team": "cats"}
    with pytest.raises(ConfigError, match="team is set again, first on line 1"):
        load_config("conf/production.yaml", ["cloud.labels={team: cats, team: dogs}"])


def test_a_config_of_the_project_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("conf/local.yaml").root == "runs"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "local.yaml").write_text("root: mine")
    assert load_config("conf/local.yaml").root == "mine", "the nearer one first"
    with pytest.raises(ConfigError, match="cannot read the config file elsewhere"):
        load_config("elsewhere/local.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"trainer:\n  epochs: 1\nmodel:\n  name: pawnet\ntrainer:\n  seed: 1\n",
            "line 5: trainer",
        ),
        (b"trainer:\n  epochs: 1\n  epochs: 2\n", "line 3: epochs is set again, first on line 2"),
        ("root: x\nname: caf\u00e9\n".encode("latin-1"), "line 2: not UTF-8 .byte 0xe9."),
        ("root: x\n".encode("utf-16"), "line 1: not UTF-8 .byte 0xff."),
        (b"root: [x\n", "line 2: "),
    ],
    ids=["section", "key", "latin-1", "utf-16", "broken"],
)
def test_duplicate_keys_and_unreadable_files_are_named_with_the_line(content, message, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(file)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_bytes(b"\xef\xbb\xbfroot: mine\n")
    assert load_config(file).root == "mine"
