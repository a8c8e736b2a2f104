"""TFX's BulkInferrer for signatures that return a string per example, such as a label."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tfx import types
from tfx import v1 as tfx
from tfx.components.bulk_inferrer import executor
from tfx.dsl.components.base import executor_spec
from tfx_bsl.beam import run_inference


class StringsExecutor(executor.Executor):
    """TFX's executor with a workaround for a bug in tfx-bsl 1.16, see `StringsModelHandler`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs inference; see TFX's executor."""
        original = run_inference._PredictModelHandler
        # A class, not a patched method: remote Beam workers import it by name.
        run_inference._PredictModelHandler = StringsModelHandler
        try:
            super().Do(input_dict, output_dict, exec_properties)
        finally:
            run_inference._PredictModelHandler = original


class StringsBulkInferrer(tfx.components.BulkInferrer):
    """TFX's BulkInferrer with `StringsExecutor`."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StringsExecutor)


class StringsModelHandler(run_inference._PredictModelHandler):
    """Lets tfx-bsl log outputs that are string vectors.

    tfx-bsl reads the dtype of each example's value. Elements of an object array are Python bytes,
    which have no dtype; elements of a NumPy bytes array do.
    """

    def _post_process(
        self,
        examples: Sequence[Any],
        serialized_examples: Sequence[bytes],
        outputs: Mapping[str, np.ndarray],
    ) -> Any:
        typed = {
            name: value.astype(np.bytes_) if value.dtype == object and value.ndim == 1 else value
            for name, value in outputs.items()
        }
        return super()._post_process(examples, serialized_examples, typed)
