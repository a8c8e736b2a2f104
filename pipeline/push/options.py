"""Where blessed models go."""

from typing import Literal

from pydantic import Field

from pipeline.section import Section

TARGETS = ("folder",)


class PushConfig(Section):
    """Where blessed models go."""

    target: Literal["folder"] = "folder"
    """`folder`: ROOT/serving, the layout that TensorFlow Serving watches."""
    keep_last: int = Field(5, ge=1)
    """Pushed versions kept at the target; older ones are removed. The one served always stays."""
