"""A small pipeline that TFX itself runs and records, several times into each store.

    python -m tests.pipeline.lineage.cheap_pipeline ROOT STORE...

Leaves three runs: `cheap-1` complete, `cheap-2` from the cache, `cheap-3` whose second node fails.
"""

import sys
from pathlib import Path

from tfx import v1 as tfx

from pipeline.run.dag_runner import LocalDagRunner

_Examples = tfx.types.standard_artifacts.Examples
_Model = tfx.types.standard_artifacts.Model


@tfx.dsl.components.component
def Make(examples: tfx.dsl.components.OutputArtifact[_Examples]):
    """Writes a file."""
    Path(examples.uri).mkdir(parents=True, exist_ok=True)
    (Path(examples.uri) / "data").write_text("one")


@tfx.dsl.components.component
def Train(
    examples: tfx.dsl.components.InputArtifact[_Examples],
    model: tfx.dsl.components.OutputArtifact[_Model],
    fails: tfx.dsl.components.Parameter[int],
):
    """Writes a file, or fails."""
    if fails:
        raise RuntimeError("told to fail")
    Path(model.uri).mkdir(parents=True, exist_ok=True)
    (Path(model.uri) / "model").write_text("two")


def main(root: str, store: str):
    """Runs three times."""
    for run, fails in (("cheap-1", 0), ("cheap-2", 0), ("cheap-3", 1)):
        make = Make()
        train = Train(examples=make.outputs["examples"], fails=fails)
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="cheap",
            pipeline_root=root,
            components=[make, train],
            enable_cache=True,
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                store
            ),
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
        try:
            LocalDagRunner(run, lambda report: print(report.node_id, report.state)).run(pipeline)
        except Exception as error:
            print(run, "failed:", str(error).splitlines()[0])


if __name__ == "__main__":
    for number, path in enumerate(sys.argv[2:]):
        main(f"{sys.argv[1]}/{number}", path)
