"""`df.tensorflow.to_tfr(...)`: TFRecorder's method of a pandas table, added by `import data`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from data.record.input_schema import IMAGE_CSV_SCHEMA
from data.record.types import ColumnType

if TYPE_CHECKING:
    from data.conversion.result import ConversionResult


@pd.api.extensions.register_dataframe_accessor("tensorflow")
class TensorFlowAccessor:
    """TFRecorder's methods of a table."""

    def __init__(self, table: pd.DataFrame):
        self._table = table

    def to_tfr(
        self,
        output_dir: str | os.PathLike[str],
        schema: Mapping[str, ColumnType] = IMAGE_CSV_SCHEMA,
        runner: str = "DirectRunner",
        project: str | None = None,
        region: str | None = None,
        tfrecorder_wheel: str | None = None,
        dataflow_options: Mapping[str, Any] | None = None,
        job_label: str = "to-tfr",
        compression: str | None = "gzip",
        num_shards: int = 0,
        **options: Any,
    ) -> ConversionResult:
        """Converts the table with `data.convert`, which documents arguments, result and errors.

        Example:
            ```python
            import data

            data.scan("photos").tensorflow.to_tfr("tfrecords", encoding="jpeg")
            ```
        """
        from data.conversion.convert import convert

        return convert(
            self._table,
            output_dir,
            schema,
            runner=runner,
            project=project,
            region=region,
            tfrecorder_wheel=tfrecorder_wheel,
            dataflow_options=dataflow_options,
            job_label=job_label,
            compression=compression,
            num_shards=num_shards,
            **options,
        )
