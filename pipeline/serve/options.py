"""Options of the server."""

import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """How a model is served.

    Attributes:
        model: Folder of versions, or one SavedModel.
        name: Name of the model in the URL.
        max_batch: Largest number of instances in a batch.
        max_body: Largest request body in bytes.
        max_instances: Largest number of instances in a request.
        max_waiting: Largest number of queued instances; requests beyond it get status 503.
        max_loaded: Largest number of versions in memory.
        poll: Seconds between checks for a new version.
        threads: Number of batches that run in parallel.
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
