"""Draws a graph on a self-contained HTML page, which needs no network or server."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from typing import Any

from pipeline.lineage.naming import to_json
from pipeline.metadata.graph import Artifact, Execution, Graph

_HERE = Path(__file__).parent


def write(graph: Graph, title: str, path: str | os.PathLike[str]) -> None:
    """Writes the page atomically.

    Args:
        graph: Graph to draw.
        title: Heading of the page.
        path: HTML file; an existing file is replaced.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render(graph, title), encoding="utf-8")
    os.replace(partial, path)


def render(graph: Graph, title: str) -> str:
    """Returns the page: template, styles, layout library (dagre), script and data."""
    # Escapes "</script" and "<!--<script", which would break the script element with the data.
    data = json.dumps(graph_data(graph)).replace("<", "\\u003c")
    parts = {
        "title": html.escape(title),
        "style": _read("page.css"),
        "layout": _read("dagre.min.js"),
        "script": _read("page.js"),
        "data": data,
    }
    # In a single pass, so that placeholders in the inserted parts are not replaced.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def graph_data(graph: Graph) -> dict[str, Any]:
    """Converts a graph to the input of the page's script.

    Returns:
        `nodes`: id, kind (`execution` or `artifact`), title, note, state and facts to show on a
        click, {name: value}. `edges`: from, to, key and found (whether an output came from the
        cache or a resolver instead of the execution itself).
    """
    nodes = [_execution(e) for e in graph.executions.values()]
    nodes += [_artifact(a) for a in graph.artifacts.values()]
    edges: list[dict[str, Any]] = []
    for execution in graph.executions.values():
        node = f"e{execution.id}"
        edges += [
            {"from": f"a{e.artifact}", "to": node, "key": e.key, "found": False}
            for e in execution.inputs
            if e.artifact in graph.artifacts
        ]
        made = {e.artifact for e in graph.made(execution)}
        edges += [
            {"from": node, "to": f"a{e.artifact}", "key": e.key, "found": e.artifact not in made}
            for e in execution.outputs
            if e.artifact in graph.artifacts
        ]
    return {"nodes": nodes, "edges": edges}


def _execution(execution: Execution) -> dict[str, Any]:
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
        "facts": facts | _properties(execution.properties),
    }


def _artifact(artifact: Artifact) -> dict[str, Any]:
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
        "facts": facts | _properties(artifact.properties),
    }


def _properties(properties: dict[str, object]) -> dict[str, object]:
    return {f"property {name}": to_json(value) for name, value in sorted(properties.items())}


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
