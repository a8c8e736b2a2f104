"""Runs the pipeline's components up to the Evaluator, orchestrated from here: `... CONFIG.yaml`.

Prints a line a component: its name and state, or the error that a user would read.
"""

import sys

from tfx.orchestration.pipeline import RunOptions

from pipeline import config_files
from pipeline.ingest import Source, ingest
from pipeline.local_dag_runner import LocalDagRunner
from pipeline.pipeline import create_pipeline


def main(images: str, *settings: str) -> int:
    config = config_files.load("conf/production.yaml", list(settings))
    ingested = ingest(Source("images", images), config, lambda *_: None)
    print("photos", ingested.records.counts, flush=True)
    config = config.model_copy(update={"records": ingested.records})
    reports = []

    def listener(report):
        reports.append(report)
        print(report.node_id, report.error or report.state, flush=True)

    LocalDagRunner("run", listener).run(
        create_pipeline(config), run_options=RunOptions(to_nodes=["Evaluator"])
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
