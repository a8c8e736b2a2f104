"""A cloud config for tests; its records are described but do not exist."""

from pipeline.config.files import load_config
from pipeline.config.schema import Config, RecordsConfig

PROJECT, REGION, BUCKET = "my-project", "us-central1", "my-bucket"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/pawprint/pipeline:1.0"
SETTINGS = (
    f"cloud.project={PROJECT}",
    f"cloud.region={REGION}",
    f"cloud.bucket={BUCKET}",
    f"cloud.service_account=pawprint@{PROJECT}.iam.gserviceaccount.com",
    f"cloud.image={IMAGE}",
    "push.target=vertex",
    f"push.vertex={{project: {PROJECT}, region: {REGION}, models_at: gs://{BUCKET}/models}}",
)
RECORDS = RecordsConfig(
    path=f"gs://{BUCKET}/pawprint/records/cats",
    labels=("dog", "cat"),
    patterns={
        "train": "train-*.tfrecord",
        "validation": "validation-*.tfrecord",
        "test": "test-*.tfrecord",
    },
    counts={split: {"dog": 8, "cat": 8} for split in ("train", "validation", "test")},
    features=("image", "image_height", "image_width", "image_channels", "image_name", "label"),
)


def cloud_config(*overrides: str) -> Config:
    """The base config on Google Cloud, with records."""
    config = load_config(None, [*SETTINGS, *overrides])
    return config.model_copy(update={"records": RECORDS})
