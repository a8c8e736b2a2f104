import getpass

import pytest

import runner_dataflow
from pipeline.config.command_line import read_bless
from pipeline.config.files import ConfigError


def test_a_forced_blessing_needs_a_reason_and_names_its_user():
    assert read_bless(None) is None
    assert read_bless(" because ").model_dump() == {"by": getpass.getuser(), "reason": "because"}
    with pytest.raises(ConfigError):
        read_bless("  ")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--bless", ""], "needs a reason"),
        (["--bless", "why not", "--schedule", "0 3 * * 1"], "for one run"),
        (["--set", "serving.validator=tfserving"], "does not run on Vertex AI"),
    ],
)
def test_what_cannot_be_sent_to_the_cloud_is_refused(arguments, part, capsys):
    command = ["submit", "--images", "gs://bucket/photos", *arguments]
    assert runner_dataflow.main(command) == 2
    assert part in capsys.readouterr().err
