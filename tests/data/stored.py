"""Photos and records in the stand-in of Cloud Storage."""

from __future__ import annotations

from tests.data.drawn import image_table
from tests.standins.http_service import Answer, Request, error, route
from tests.standins.storage import StorageStandIn


class Store(StorageStandIn):
    """The stand-in with support of `ifGenerationMatch=0`: fail if the object exists."""

    @route("POST", r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o")
    def _upload(self, request: Request, bucket: str) -> Answer:
        before = dict(self.buckets.get(bucket, {}))
        answer = super()._upload(request, bucket)
        if request.query.get("ifGenerationMatch") != "0" or answer.content["name"] not in before:
            return answer
        self.buckets[bucket] = before
        return error(412, "At least one of the pre-conditions you specified did not hold.")


def upload(storage, folder, target):
    for path in folder.rglob("*"):
        if path.is_file():
            storage.put(f"{target}/{path.relative_to(folder)}", path.read_bytes())


def remote_table(tmp_path, bucket, counts):
    """An Image CSV of drawn photos in the store, and the same of local ones."""
    address, storage = bucket
    here = image_table(tmp_path / "photos", counts)
    upload(storage, tmp_path / "photos", f"{address}/photos")
    names = here["image_uri"].str.split("/").str[-1]
    return here.assign(image_uri=f"{address}/photos/" + names), here


def remote_tree(storage, folder):
    bucket, _, prefix = folder.removeprefix("gs://").partition("/")
    return {name[1:]: storage.buckets[bucket][prefix + name] for name in storage.names(folder)}
