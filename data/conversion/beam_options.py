"""Completes and checks the options of a Beam job before it is submitted."""

from __future__ import annotations

import argparse
import difflib
import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib import metadata
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from data.conversion.plan import ConversionPlan
from data.errors import DataError, MissingError, listing
from data.storage import files

DATAFLOW = "DataflowRunner"
_LOCAL_RUNNER = "FnApiRunner"  # Beam's DirectRunner would try to download another runner

_PACKAGE = Path(__file__).resolve().parents[1]
_CODE = ("setup_file", "sdk_container_image", "extra_packages")
# The same version of Pillow as here decodes to the same pixels.
_SETUP = """
from setuptools import find_packages, setup

setup(
    name="pawprint-data",
    version="1",
    packages=find_packages(include=["data*"]),
    install_requires=["google-cloud-storage", "google-crc32c", "pandas", "pillow=={pillow}"],
)
"""
# https://cloud.google.com/dataflow/docs/guides/setting-pipeline-options, job_name
_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
# https://cloud.google.com/resource-manager/docs/creating-managing-projects, or domain-scoped
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_MACHINE_TYPE = re.compile(r"([\w.-]+/)*[a-z][a-z0-9]*(-[a-z0-9]+)+")  # with or without a zone
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
# https://cloud.google.com/compute/docs/labeling-resources
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")


def job_options(
    plan: ConversionPlan,
    folder: str,
    runner: str,
    project: str | None,
    region: str | None,
    options: dict[str, Any],
    job_label: str,
) -> dict[str, Any]:
    """Returns all options of the job by name.

    Args:
        plan: The plan, whose photos Dataflow must be able to read.
        folder: Folder of the records.
        runner: The name of a Beam runner, in any case.
        project, region: Google Cloud project and region.
        options: Options of the caller, see `parse_options`; they override the defaults set here.
        job_label: Part of the job's name.

    Raises:
        DataError: An unknown runner or option, a value of the wrong type, or, for Dataflow, missing
            options or files that its workers cannot reach; lists all of them.
    """
    name = runner_name(runner)
    options = parse_options({"project": project, "region": region} | options)
    if name != DATAFLOW:
        return {"runner": name} | options
    parent = folder.rsplit("/", 1)[0]
    defaults = {
        "job_name": job_name(folder, job_label),
        "temp_location": f"{parent}/tmp",
        "staging_location": f"{parent}/staging",
        "labels": ["application=pawprint"],
    }
    options = {"runner": name} | defaults | options
    _check_dataflow(plan, folder, options)
    return options


def parse_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Parses options with Beam's parser of flags; omits those that are None.

    Args:
        options: Option name to value; any value may be text, as on the command line.

    Raises:
        DataError: An unknown option, or a value that Beam refuses.
    """
    options = {key: _as_flag(value) for key, value in options.items() if value is not None}
    known = _known_flags()
    if unknown := [key for key in options if key not in known]:
        near = difflib.get_close_matches(unknown[0], known, 3)
        raise DataError(
            f"Unknown Beam pipeline options: {listing(unknown)}",
            f"Did you mean {', '.join(near)}?" if near else "",
        )
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            parsed = PipelineOptions.from_dictionary(options).get_all_options()
    except SystemExit:
        wrong = errors.getvalue().strip().rpartition("error: ")[2]
        raise DataError(f"Beam refuses a pipeline option: {wrong}") from None
    return {
        known[key]: parsed[known[key]] if value is not False else False  # not expressible as a flag
        for key, value in options.items()
        if value is not False or key == known[key]
    }


def _as_flag(value: object) -> object:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    return list(value) if isinstance(value, tuple) else value


def _known_flags() -> dict[str, str]:
    """Maps each flag of Beam, without dashes, to the name of the option that it sets."""
    known: dict[str, str] = {}

    def collect(parser: argparse.ArgumentParser) -> None:
        for flag, action in parser._option_string_actions.items():
            known[action.dest] = known[flag.lstrip("-")] = action.dest

    PipelineOptions(flags=[]).get_all_options(add_extra_args_fn=collect)
    return known


@contextmanager
def workers_package(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the options with the code for the workers, unless they specify it.

    Creates a source package of `data` alone, which Beam builds and stages. This works from a
    checkout and from an installed package, and the workers install neither TensorFlow nor TFX.
    """
    if any(options.get(key) for key in _CODE):
        yield options
        return
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(
            _PACKAGE, Path(scratch, "data"), ignore=shutil.ignore_patterns("__pycache__")
        )
        setup = Path(scratch, "setup.py")
        setup.write_text(_SETUP.format(pillow=metadata.version("pillow")))
        yield options | {"setup_file": str(setup)}


def dataflow_url(job_id: str, project: str, region: str) -> str:
    """Returns the URL of a job in the Google Cloud console."""
    return f"https://console.cloud.google.com/dataflow/jobs/{region}/{job_id}?project={project}"


def runner_name(runner: str) -> str:
    """Returns the name of the runner as Beam spells it.

    Raises:
        DataError: Beam has no such runner.
    """
    if runner.lower() == "directrunner":
        return _LOCAL_RUNNER
    known: dict[str, str] = {
        name.lower(): name for name in (*StandardOptions.KNOWN_RUNNER_NAMES, _LOCAL_RUNNER)
    }
    if runner.lower() not in known and "." not in runner:
        raise MissingError(f"Unknown runner: {runner!r}", f"Allowed: {', '.join(known.values())}.")
    return known.get(runner.lower(), runner)


def job_name(folder: str, job_label: str) -> str:
    """Returns a valid name for the job: that of the folder, and the label unless included."""
    name = folder.rstrip("/").rsplit("/", 1)[-1]
    valid = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in (name, job_label))
    name, label = valid
    return name if not label or label in name else f"{name}-{label}"


def _check_dataflow(plan: ConversionPlan, folder: str, options: dict[str, Any]) -> None:
    wrong = []
    for key, form in (("project", _PROJECT), ("region", _REGION)):
        if not (value := options.get(key)):
            wrong.append(f"{key}= is missing")
        elif not form.fullmatch(value):
            wrong.append(f"{key} must match {form.pattern}: {value!r}")
    for what, path in (
        ("output_dir", folder),
        ("temp_location", options["temp_location"]),
        ("staging_location", options["staging_location"]),
    ):
        if not path.startswith("gs://"):
            wrong.append(f"{what} is not on gs://: {path}")
    for path in [options.get("setup_file"), *(options.get("extra_packages") or ())]:
        if path and not Path(path).is_file():
            wrong.append(f"no such file: {path}")
    if not _JOB_NAME.fullmatch(options["job_name"]):
        wrong.append(f"job_name must match {_JOB_NAME.pattern}: {options['job_name']!r}")
    machine_type = options.get("machine_type")
    if machine_type and not _MACHINE_TYPE.fullmatch(machine_type):
        wrong.append(f"machine_type must be like n1-standard-1: {machine_type!r}")
    wrong += [
        f"label must match {_LABEL.pattern}: {label!r}"
        for label in options["labels"]
        if not _LABEL.fullmatch(label)
    ]
    rows = (row for job in plan.shards for row in job["rows"])
    local = [f"row {row[0]}: {row[1]}" for row in rows if row[1] and not files.is_remote(row[1])]
    if local:
        wrong.append(f"workers cannot read {len(local)} local photos, such as {local[0]}")
    if wrong:
        raise MissingError(f"{DATAFLOW} cannot run this conversion; nothing was sent", *wrong)
