"""Protocol buffer messages of TensorFlow's file formats, declared in Python without TensorFlow.

Messages live in a separate descriptor pool, so TensorFlow can register its own in the same process.
Only the fields in use are declared; the others are absent on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "float": _FIELD.TYPE_FLOAT,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
}


def message_class(root: str, messages: Mapping[str, Mapping[str, tuple[int, str]]]) -> Any:
    """Creates the class of a message.

    Args:
        root: Name of the message.
        messages: Message name to its fields: name to (number, type). A type is the name of a scalar
            or of another message. The prefix `*` makes the field repeated, `|` a member of the
            message's oneof. A map is declared as repeated entries, its form on the wire.

    Returns:
        The message class; its fields are known at run time only.
    """
    file = descriptor_pb2.FileDescriptorProto(name="wire.proto", package="wire", syntax="proto3")
    for name, fields in messages.items():
        declared = file.message_type.add(name=name)
        if any(kind.startswith("|") for _, kind in fields.values()):
            declared.oneof_decl.add(name="choice")
        for field_name, (number, kind) in fields.items():
            field = declared.field.add(name=field_name, number=number)
            field.label = _FIELD.LABEL_REPEATED if kind.startswith("*") else _FIELD.LABEL_OPTIONAL
            if kind.startswith("|"):
                field.oneof_index = 0
            kind = kind.lstrip("*|")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".wire.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"wire.{root}")
    if hasattr(message_factory, "GetMessageClass"):  # protobuf >= 4.22
        return message_factory.GetMessageClass(descriptor)
    # The type stubs describe a later protobuf, without this method.
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)
