"""What Dataflow was asked for by a job that it received, against what the config says."""

from pipeline.cloud import resources
from pipeline.config.schema import Config


def check_job(job: dict, config: Config, **labels: str) -> None:
    """Machines, limits, account, image, network and labels of a job, as its client sent it."""
    cloud = config.cloud
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == cloud.dataflow.machine_type
    assert pool["autoscalingSettings"]["maxNumWorkers"] == cloud.dataflow.max_workers
    assert pool["diskSizeGb"] == cloud.dataflow.disk_gb
    assert pool["workerHarnessContainerImage"] == cloud.image
    assert pool.get("subnetwork") == cloud.subnetwork
    private = "WORKER_IP_PRIVATE" if cloud.subnetwork else None
    assert pool.get("ipConfiguration") == private
    assert job["environment"]["serviceAccountEmail"] == cloud.service_account
    seconds = f"{cloud.dataflow.timeout_h * 3600:.0f}"
    (limit,) = job["environment"]["serviceOptions"]
    assert limit == f"max_workflow_runtime_walltime_seconds={seconds}"
    assert (resources.labels(config) | labels).items() <= job["labels"].items()
