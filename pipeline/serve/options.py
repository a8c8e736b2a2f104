"""Settings of the server."""

import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """How a model is served.

    Attributes:
        model: a folder of versions, or one SavedModel.
        name: the model's name in the paths of the REST.
        max_batch: instances that the model is asked at once.
        max_body: bytes of a request's body.
        max_instances: instances of one request.
        max_waiting: instances that may wait; requests over that get 503.
        max_loaded: versions in memory at the same time.
        poll: seconds between looks at the folder.
        threads: batches that run at the same time.
    """

    model: Path
    name: str = "pawprint"
    max_batch: int = 16
    max_body: int = 32 << 20
    max_instances: int = 256
    max_waiting: int = 2048
    max_loaded: int = 3
    poll: float = 1.0
    threads: int = os.cpu_count() or 1
