"""Settings of the metadata mirror at the end of a local run."""

from pydantic import Field

from pipeline.config.section import Section


class LineageConfig(Section):
    """The mirror of ML Metadata in Weights & Biases; used if `wandb.mode` is `online`."""

    mirror: bool = True
    """Whether to mirror the store at the end of a run."""
    deadline_s: float = Field(60, gt=0)
    """Seconds after which an unfinished mirror is stopped; the next one resumes from there."""
