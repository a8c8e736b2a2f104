"""Runs a staged pipeline on worker pools of other hosts: `dataflow_runner.py PIPELINE.pb POOL...`.

Beam's FnApiRunner stands where Dataflow's service does: it plans the stages and hands out bundles,
and runs no code of the pipeline itself. A program of its own, with Beam and nothing of the project.
"""

import itertools
import sys
from concurrent import futures

import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import (
    beam_fn_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

# Beam's own clients ping more often than a server allows by default.
_PINGS = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]


class Pools(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Hands the runner's demands for workers to the hosts in turn."""

    def __init__(self, addresses: list[str]):
        stubs = [
            beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(
                grpc.insecure_channel(address, options=_PINGS)
            )
            for address in addresses
        ]
        self._turns = itertools.cycle(stubs)

    def StartWorker(self, request, context):
        return next(self._turns).StartWorker(request, wait_for_ready=True)


def main(staged: str, pools: list[str]) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4), options=_PINGS)
    port = server.add_insecure_port("127.0.0.1:0")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(Pools(pools), server)
    server.start()
    with open(staged, "rb") as file:
        pipeline = beam_runner_api_pb2.Pipeline.FromString(file.read())
    workers = beam_runner_api_pb2.ExternalPayload(
        endpoint=endpoints_pb2.ApiServiceDescriptor(url=f"127.0.0.1:{port}")
    ).SerializeToString()
    for environment in pipeline.components.environments.values():
        environment.urn = common_urns.environments.EXTERNAL.urn
        environment.payload = workers
        del environment.dependencies[:]
    runner = FnApiRunner()
    runner._num_workers = len(pools)
    try:
        runner.run_via_runner_api(pipeline, PipelineOptions(flags=[])).wait_until_finish()
    finally:
        server.stop(None)  # else its threads keep this process


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
