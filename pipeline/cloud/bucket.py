"""Checks of the bucket: it exists, and it is near."""

from pipeline.cloud.errors import CloudError, translate_errors
from pipeline.config.cloud import CloudConfig


def check(cloud: CloudConfig) -> str:
    """Checks that the bucket exists; returns a text about its location.

    Raises:
        CloudError: the bucket does not exist, or the credentials cannot read it.
    """
    from google.api_core.exceptions import NotFound
    from google.cloud import storage

    with translate_errors(cloud, f"read the bucket {cloud.address}"):
        try:
            bucket = storage.Client(project=cloud.project).get_bucket(cloud.bucket, timeout=30)
        except NotFound:
            raise CloudError(
                f"the bucket {cloud.address} does not exist. Create it: gcloud storage buckets "
                f"create {cloud.address} --project={cloud.project} --location={cloud.region} "
                "--uniform-bucket-level-access"
            ) from None
    location = (bucket.location or "").lower()
    if location and location != cloud.region and not cloud.region.startswith(location):
        return f"exists, but in {location}: reading it from {cloud.region} is slower and costs more"
    return f"exists, in {location}"
