"""One self-contained page that draws a graph: no network, no server, nothing to install."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path

from pipeline.lineage.naming import plain
from pipeline.metadata.graph import Artifact, Execution, Graph

_HERE = Path(__file__).parent


def write(graph: Graph, title: str, path: str | os.PathLike) -> None:
    """Writes the page, whole or not at all.

    Args:
        graph: what is drawn.
        title: heading of the page.
        path: file to write; one that exists is replaced.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render(graph, title), encoding="utf-8")
    os.replace(partial, path)


def render(graph: Graph, title: str) -> str:
    """The page as text: template, styles, layout library (dagre), script and data in one."""
    # "</script" would end the script element that holds the data, "<!--<script" would swallow those
    # that follow it.
    data = json.dumps(as_data(graph)).replace("<", "\\u003c")
    parts = {
        "title": html.escape(title),
        "style": _read("page.css"),
        "layout": _read("dagre.min.js"),
        "script": _read("page.js"),
        "data": data,
    }
    # In one pass: what is put in is never searched for placeholders itself.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def as_data(graph: Graph) -> dict:
    """What the script draws.

    Returns:
        nodes: id, kind (`execution` or `artifact`), title, note, state, and facts to show on a
        click ({name: value}); edges: from, to, key, and found (whether an output was found, in the
        cache or by a resolver, rather than made).
    """
    nodes = [_execution(e) for e in graph.executions.values()]
    nodes += [_artifact(a) for a in graph.artifacts.values()]
    edges = []
    for execution in graph.executions.values():
        me = f"e{execution.id}"
        edges += [
            {"from": f"a{e.artifact}", "to": me, "key": e.key, "found": False}
            for e in execution.inputs
            if e.artifact in graph.artifacts
        ]
        made = {e.artifact for e in graph.made(execution)}
        edges += [
            {"from": me, "to": f"a{e.artifact}", "key": e.key, "found": e.artifact not in made}
            for e in execution.outputs
            if e.artifact in graph.artifacts
        ]
    return {"nodes": nodes, "edges": edges}


def _execution(execution: Execution) -> dict:
    seconds = max(execution.updated - execution.created, 0) / 1000
    facts = {
        "execution": execution.id,
        "state": execution.state,
        "type": execution.type,
        "name": execution.name,
        "started": execution.created,
        "updated": execution.updated,
        **dict(execution.contexts),
    }
    return {
        "id": f"e{execution.id}",
        "kind": "execution",
        "title": execution.node,
        "note": "cached" if execution.state == "cached" else f"{execution.state}, {seconds:.1f} s",
        "state": execution.state,
        "facts": facts | _own(execution.properties),
    }


def _artifact(artifact: Artifact) -> dict:
    facts = {
        "artifact": artifact.id,
        "state": artifact.state,
        "type": artifact.type,
        "name": artifact.name,
        "uri": artifact.uri,
        "created": artifact.created,
    }
    return {
        "id": f"a{artifact.id}",
        "kind": "artifact",
        "title": artifact.type,
        "note": f"artifact {artifact.id}",
        "state": artifact.state,
        "facts": facts | _own(artifact.properties),
    }


def _own(properties: dict[str, object]) -> dict[str, object]:
    return {f"property {name}": plain(value) for name, value in sorted(properties.items())}


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
