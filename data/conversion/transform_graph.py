"""`transform_fn/saved_model.pb`: the graph from the table's columns to the records' features.

This is the graph that TensorFlow Transform would export for these columns: it looks up text labels
in their vocabulary and passes other columns through. A conversion writes it without importing
TensorFlow. Formats: tensorflow/core/protobuf/{saved_model,meta_graph}.proto and
tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.record.example_proto import message_class

ASSETS = "assets"
SIGNATURE = "transform_signature"

# tensorflow/core/framework/types.proto
TYPES = {"FLOAT": 1, "BYTES": 7, "INT": 9}
_STRING, _INT64 = TYPES["BYTES"], TYPES["INT"]
# Op definitions of TensorFlow 2.3 and later; tensorflow/core/public/version.h of 2.3.
_PRODUCER, _TENSORFLOW = 440, "2.3.1"

_SavedModel = message_class(
    "SavedModel",
    {
        "SavedModel": {"saved_model_schema_version": (1, "int64"), "meta_graphs": (2, "*Meta")},
        "Meta": {
            "meta_info_def": (1, "MetaInfo"),
            "graph_def": (2, "Graph"),
            "collection_def": (4, "*CollectionEntry"),
            "signature_def": (5, "*SignatureEntry"),
            "asset_file_def": (6, "*AssetFile"),
        },
        "MetaInfo": {"tags": (4, "*string"), "tensorflow_version": (5, "string")},
        "Graph": {"node": (1, "*Node"), "versions": (4, "Versions")},
        "Versions": {"producer": (1, "int32")},
        "Node": {
            "name": (1, "string"),
            "op": (2, "string"),
            "input": (3, "*string"),
            "attr": (5, "*AttrEntry"),
        },
        "AttrEntry": {"key": (1, "string"), "value": (2, "Attr")},
        "Attr": {
            "s": (2, "|bytes"),
            "i": (3, "|int64"),
            "type": (6, "|int32"),
            "shape": (7, "|Shape"),
            "tensor": (8, "|Tensor"),
        },
        "Shape": {"dim": (2, "*Dim")},
        "Dim": {"size": (1, "int64")},
        "Tensor": {
            "dtype": (1, "int32"),
            "tensor_shape": (2, "Shape"),
            "string_val": (8, "*bytes"),
            "int64_val": (10, "*int64"),
        },
        "CollectionEntry": {"key": (1, "string"), "value": (2, "Collection")},
        "Collection": {"node_list": (1, "|NodeList"), "any_list": (5, "|AnyList")},
        "NodeList": {"value": (1, "*string")},
        "AnyList": {"value": (1, "*Any")},
        "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
        "SignatureEntry": {"key": (1, "string"), "value": (2, "Signature")},
        "Signature": {
            "inputs": (1, "*TensorEntry"),
            "outputs": (2, "*TensorEntry"),
            "method_name": (3, "string"),
        },
        "TensorEntry": {"key": (1, "string"), "value": (2, "TensorInfo")},
        "TensorInfo": {"name": (1, "string"), "dtype": (2, "int32"), "tensor_shape": (3, "Shape")},
        "AssetFile": {"tensor_info": (1, "TensorInfo"), "filename": (2, "string")},
    },
)


def transform_graph(features: Mapping[str, str], vocabularies: Mapping[str, str]) -> bytes:
    """Builds the content of `saved_model.pb`.

    Args:
        features: Feature name to its type in the records: BYTES, INT or FLOAT.
        vocabularies: Name of each feature that is text before the transformation, to the name of
            its vocabulary file in `assets/`.

    Returns:
        A serialized SavedModel. Its signature maps a vector of each column to a vector of the
        feature in the records.
    """
    model = _SavedModel(saved_model_schema_version=1)
    builder = _Builder(model.meta_graphs.add())
    for number, (name, kind) in enumerate(sorted(features.items())):
        if name in vocabularies:
            builder.lookup(name, number, vocabularies[name])
        else:
            builder.identity(name, number, TYPES[kind])
    serialized: bytes = model.SerializeToString()
    return serialized


class _Builder:
    """Adds the columns' nodes to a meta graph."""

    def __init__(self, meta: Any):
        self._meta = meta
        meta.meta_info_def.tags.append("transform")
        meta.meta_info_def.tensorflow_version = _TENSORFLOW
        self._graph = meta.graph_def
        self._graph.versions.producer = _PRODUCER
        self._signature = meta.signature_def.add(key=SIGNATURE).value
        self._signature.method_name = "tensorflow/serving/predict"
        self._collections: dict[str, Any] = {}

    def identity(self, name: str, number: int, dtype: int) -> None:
        """Passes a column through."""
        column = self._input(name, number, dtype)
        self._output(name, self._node(f"output_{number}", "Identity", [column], T=dtype), dtype)

    def lookup(self, name: str, number: int, file: str) -> None:
        """Looks up a text label in a vocabulary file: its index, or -1 if it is not in the file."""
        column = self._input(name, number, _STRING)
        path = self._node(f"vocabulary_path_{number}", "Const", dtype=_STRING, value=file.encode())
        unseen = self._node(f"unseen_{number}", "Const", dtype=_INT64, value=-1)
        table = self._node(
            f"vocabulary_{number}",
            "HashTableV2",
            key_dtype=_STRING,
            value_dtype=_INT64,
            shared_name=f"vocabulary_{number}_{file}".encode(),
        )
        fill = self._node(
            f"vocabulary_{number}_init",
            "InitializeTableFromTextFileV2",
            [table, path],
            key_index=-2,  # the whole line
            value_index=-1,  # the line number
            vocab_size=-1,
            delimiter=b"\t",
        )
        found = self._node(
            f"output_{number}",
            "LookupTableFindV2",
            [table, column, unseen],
            Tin=_STRING,
            Tout=_INT64,
        )
        self._output(name, found, _INT64)
        asset = self._meta.asset_file_def.add(filename=file)
        asset.tensor_info.name = f"{path}:0"
        # Readers of the TensorFlow 1 format find assets and initializers in these collections.
        self._collection("asset_filepaths").node_list.value.append(f"{path}:0")
        self._collection("table_initializer").node_list.value.append(fill)
        self._collection("saved_model_assets").any_list.value.add(
            type_url="type.googleapis.com/tensorflow.AssetFileDef", value=asset.SerializeToString()
        )

    def _input(self, name: str, number: int, dtype: int) -> str:
        node = self._node(f"input_{number}", "Placeholder", dtype=dtype, shape=[-1])
        self._tensor(self._signature.inputs.add(key=name).value, node, dtype)
        return node

    def _output(self, name: str, node: str, dtype: int) -> None:
        self._tensor(self._signature.outputs.add(key=name).value, node, dtype)

    def _tensor(self, info: Any, node: str, dtype: int) -> None:
        info.name, info.dtype = f"{node}:0", dtype
        info.tensor_shape.dim.add(size=-1)

    def _collection(self, key: str) -> Any:
        if key not in self._collections:
            self._collections[key] = self._meta.collection_def.add(key=key).value
        return self._collections[key]

    def _node(self, name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        node = self._graph.node.add(name=name, op=op, input=list(inputs))
        for key, value in attributes.items():
            attr = node.attr.add(key=key).value
            if key == "value":
                attr.tensor.dtype = attributes["dtype"]
                attr.tensor.tensor_shape.SetInParent()
                if isinstance(value, bytes):
                    attr.tensor.string_val.append(value)
                else:
                    attr.tensor.int64_val.append(value)
            elif key == "shape":
                for size in value:
                    attr.shape.dim.add(size=size)
            elif isinstance(value, bytes):
                attr.s = value
            elif key in ("key_index", "value_index", "vocab_size"):
                attr.i = value
            else:
                attr.type = value
        return name
