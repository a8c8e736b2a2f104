"""The options of a Beam job, complete and checked before anything is sent."""

from __future__ import annotations

import difflib
import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib import metadata
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from data.conversion.plan import Plan
from data.errors import DataError, MissingError, listing
from data.storage import files

DATAFLOW = "DataflowRunner"
_HERE = "FnApiRunner"  # Beam's DirectRunner would first try to download another runner

_PACKAGE = Path(__file__).resolve().parents[1]
_CODE = ("setup_file", "sdk_container_image", "extra_packages")
# The same Pillow as here: the same pixels.
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
# https://cloud.google.com/resource-manager/docs/creating-managing-projects, with its old domains
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_MACHINE_TYPE = re.compile(r"([\w.-]+/)*[a-z][a-z0-9]*(-[a-z0-9]+)+")  # with its zone or without
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
# https://cloud.google.com/compute/docs/labeling-resources
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")


def job_options(
    plan: Plan,
    folder: str,
    runner: str,
    project: str | None,
    region: str | None,
    options: dict,
    job_label: str,
) -> dict:
    """All options of the job, by name.

    Args:
        plan: For the photos' paths.
        folder: Where the records will go.
        runner: A Beam runner's name in any case.
        project, region: Of Google Cloud.
        options: What the caller set, see `typed`; it goes before everything set here.
        job_label: Part of the job's name.

    Raises:
        DataError: An unknown runner or option, a value of the wrong type, or for Dataflow anything
            missing or out of reach of its workers; all that is missing is named at once.
    """
    name = runner_name(runner)
    options = typed({"project": project, "region": region} | options)
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


def typed(options: Mapping) -> dict:
    """The options as Beam's own parser of flags reads them; those that are None are left out.

    Args:
        options: By name; the text of a flag will do for any value, as the command line has it.

    Raises:
        DataError: An unknown option, or a value that the parser refuses.
    """
    options = {key: _as_flag(value) for key, value in options.items() if value is not None}
    known = _known_flags()
    if unknown := [key for key in options if key not in known]:
        near = difflib.get_close_matches(unknown[0], known, 3)
        raise DataError(
            f"Unknown Beam pipeline options: {listing(unknown)}",
            f"Did you mean {', '.join(near)}?" if near else "",
        )
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            parsed = PipelineOptions.from_dictionary(options).get_all_options()
    except SystemExit:
        wrong = complaint.getvalue().strip().rpartition("error: ")[2]
        raise DataError(f"Beam refuses a pipeline option: {wrong}") from None
    return {
        known[key]: parsed[known[key]] if value is not False else False  # which no flag says
        for key, value in options.items()
        if value is not False or key == known[key]
    }


def _as_flag(value):
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    return list(value) if isinstance(value, tuple) else value


def _known_flags() -> dict[str, str]:
    """Each flag of Beam's, without dashes, to the name of the option that it sets."""
    known: dict[str, str] = {}

    def note(parser) -> None:
        for flag, action in parser._option_string_actions.items():
            known[action.dest] = known[flag.lstrip("-")] = action.dest

    PipelineOptions(flags=[]).get_all_options(add_extra_args_fn=note)
    return known


@contextmanager
def workers_package(options: dict) -> Iterator[dict]:
    """The options with the code that the workers need, unless they name it themselves.

    A source package of `data` alone is laid out for Beam to build and stage, so the same works from
    a checkout and from an installed package, and workers install neither TensorFlow nor TFX.
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
    """The page of a job in Google's console."""
    return f"https://console.cloud.google.com/dataflow/jobs/{region}/{job_id}?project={project}"


def runner_name(runner: str) -> str:
    """The runner as Beam spells it.

    Raises:
        DataError: Beam has no such runner.
    """
    if runner.lower() == "directrunner":
        return _HERE
    known = {name.lower(): name for name in (*StandardOptions.KNOWN_RUNNER_NAMES, _HERE)}
    if runner.lower() not in known and "." not in runner:
        raise MissingError(f"Unknown runner: {runner!r}", f"Allowed: {', '.join(known.values())}.")
    return known.get(runner.lower(), runner)


def job_name(folder: str, job_label: str) -> str:
    """The name of the job: that of the folder, with the label where it has none, made fit."""
    name = folder.rstrip("/").rsplit("/", 1)[-1]
    fit = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in (name, job_label))
    name, label = fit
    return name if not label or label in name else f"{name}-{label}"


def _check_dataflow(plan: Plan, folder: str, options: dict) -> None:
    wrong = []
    for key, form in (("project", _PROJECT), ("region", _REGION)):
        if not (value := options.get(key)):
            wrong.append(f"{key}= is missing")
        elif not form.fullmatch(value):
            wrong.append(f"{key} is to match {form.pattern}: {value!r}")
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
        wrong.append(f"job_name is to match {_JOB_NAME.pattern}: {options['job_name']!r}")
    machine_type = options.get("machine_type")
    if machine_type and not _MACHINE_TYPE.fullmatch(machine_type):
        wrong.append(f"machine_type is one such as n1-standard-1: {machine_type!r}")
    wrong += [
        f"label is to match {_LABEL.pattern}: {label!r}"
        for label in options["labels"]
        if not _LABEL.fullmatch(label)
    ]
    rows = (row for job in plan.shards for row in job["rows"])
    local = [f"row {row[0]}: {row[1]}" for row in rows if row[1] and not files.is_remote(row[1])]
    if local:
        wrong.append(f"{len(local)} photos are not where workers can read them, {local[0]}")
    if wrong:
        raise MissingError(f"{DATAFLOW} cannot run this conversion; nothing was sent", *wrong)
