"""Protocol buffer messages declared in Python, for TensorFlow's file formats without TensorFlow.

Messages live in a pool of their own, so that TensorFlow can register the real ones in the same
process. Only the fields that are used are declared; on the wire the rest is simply absent.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def message_class(root: str, messages: Mapping[str, Mapping[str, tuple[int, str]]]):
    """The class of one of the declared messages.

    Args:
        root: Which one.
        messages: Message name to its fields: name to (number, type). A type is the name of a scalar
            or of another message; `*` before it makes the field repeated, `|` one of the message's
            choices (a oneof). Maps are declared as the repeated entries that they are on the wire.
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
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)
