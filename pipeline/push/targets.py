"""The target that the config names."""

from pathlib import Path

from pipeline.push.options import PushConfig
from pipeline.push.target import Target


def make_target(options: PushConfig, folder: str) -> Target:
    """The target of `options.target`; `folder` is that of the target `folder`.

    Each imports its client library only when it is made.
    """
    from pipeline.push.folder import FolderTarget

    return FolderTarget(Path(folder), options.keep_last)
