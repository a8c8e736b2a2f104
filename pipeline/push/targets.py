"""The target that the config names."""

from pathlib import Path

from pipeline.config.push import PushConfig
from pipeline.push.target import PushError, Target


def make_target(options: PushConfig, folder: str) -> Target:
    """The target of `options.target`; `folder` is that of the target `folder`.

    Each imports its client library only when it is made.

    Raises:
        PushError: there are no credentials, or `folder` is no folder.
    """
    if options.target == "ai_platform":
        from pipeline.push.ai_platform import AiPlatformTarget

        return AiPlatformTarget(options.ai_platform, options.keep_last)
    if options.target == "vertex":
        from pipeline.push.vertex import VertexTarget

        return VertexTarget(options.vertex, options.keep_last)
    if "://" in folder:
        raise PushError(
            f"{folder} is no folder of a file system: a version cannot appear there by one rename; "
            "set push.target to vertex or ai_platform"
        )
    from pipeline.push.folder import FolderTarget

    return FolderTarget(Path(folder), options.keep_last)
