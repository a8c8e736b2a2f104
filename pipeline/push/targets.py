"""Makes the target that the config names."""

from pathlib import Path

from pipeline.config.push import PushConfig
from pipeline.push.target import PushError, PushTarget


def make_target(options: PushConfig, folder: str) -> PushTarget:
    """Makes the target `options.target`; imports a client library only if that target needs it.

    Args:
        options: the config's section `push`.
        folder: folder of versions, for the target `folder`.

    Raises:
        PushError: there are no credentials, or `folder` is not on a file system.

    Example:
        >>> make_target(PushConfig(), "runs/serving").status().versions
        ()
    """
    if options.target == "ai_platform":
        from pipeline.push.ai_platform import AiPlatformTarget

        assert options.ai_platform is not None  # PushConfig checks it
        return AiPlatformTarget(options.ai_platform, options.keep_last)
    if options.target == "vertex":
        from pipeline.push.vertex import VertexTarget

        assert options.vertex is not None  # PushConfig checks it
        return VertexTarget(options.vertex, options.keep_last)
    if "://" in folder:
        raise PushError(
            f"{folder} is not on a file system, where one rename makes a version appear; "
            "set push.target to vertex or ai_platform"
        )
    from pipeline.push.folder import FolderTarget

    return FolderTarget(Path(folder), options.keep_last)
