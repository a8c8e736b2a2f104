"""TFX's BulkInferrer for signatures that return one string an example, such as a label."""

import numpy as np
from tfx import v1 as tfx
from tfx.components.bulk_inferrer import executor
from tfx.dsl.components.base import executor_spec
from tfx_bsl.beam import run_inference


class StringsExecutor(executor.Executor):
    """TFX's executor, with a fault of tfx-bsl 1.16 put right while it works."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Runs inference; see TFX's executor."""
        original = run_inference._PredictModelHandler
        # A class of this module, not a patched method: Beam's workers elsewhere import it by name.
        run_inference._PredictModelHandler = StringsModelHandler
        try:
            super().Do(input_dict, output_dict, exec_properties)
        finally:
            run_inference._PredictModelHandler = original


class StringsBulkInferrer(tfx.components.BulkInferrer):
    """TFX's BulkInferrer with the executor above."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StringsExecutor)


class StringsModelHandler(run_inference._PredictModelHandler):
    """Has tfx-bsl log an output of strings that is a vector.

    It asks each example's value for its dtype, and the elements of an array of Python bytes have
    none; those of an array of NumPy's own strings do.
    """

    def _post_process(self, examples, serialized_examples, outputs):
        typed = {
            name: value.astype(np.bytes_) if value.dtype == object and value.ndim == 1 else value
            for name, value in outputs.items()
        }
        return super()._post_process(examples, serialized_examples, typed)
