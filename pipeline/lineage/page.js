"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const STATES = ["complete", "cached", "failed", "canceled", "running"];
  const SMALLEST = 0.75; // below this scale the text cannot be read
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("canvas");
  const byId = (id) => document.getElementById(id);

  function element(name, attributes, parent, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function short(text, length) {
    return text.length > length ? text.slice(0, length - 1) + "…" : text;
  }

  // Layout: dagre places nodes and bends edges, ranks from left to right.
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: "LR", nodesep: 14, ranksep: 46, marginx: 24, marginy: 24 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of data.nodes) {
    const letters = Math.max(short(node.title, 26).length, node.note.length * 0.85, 9);
    graph.setNode(node.id, { width: letters * 7.6 + 24, height: 42 });
  }
  data.edges.forEach((edge, n) => graph.setEdge(edge.from, edge.to, {}, String(n)));
  dagre.layout(graph);
  const size = graph.graph();
  const width = Math.max(size.width || 0, 200);
  const height = Math.max(size.height || 0, 120);

  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "group" }, canvas);
  const defs = element("defs", {}, svg);
  const tip = { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7 };
  const marker = element("marker", { ...tip, orient: "auto" }, defs);
  element("path", { d: "M0 0 L8 4 L0 8 z", fill: "context-stroke" }, marker);

  const edges = data.edges.map((edge, n) => {
    const points = graph.edge(edge.from, edge.to, String(n)).points;
    let path = `M${points[0].x} ${points[0].y}`;
    for (let i = 1; i < points.length - 1; i++) {
      const end = i === points.length - 2 ? points[i + 1]
        : { x: (points[i].x + points[i + 1].x) / 2, y: (points[i].y + points[i + 1].y) / 2 };
      path += ` Q${points[i].x} ${points[i].y} ${end.x} ${end.y}`;
    }
    const drawn = element("path", { d: path, class: "edge", "marker-end": "url(#tip)" }, svg);
    drawn.classList.toggle("found", edge.found);
    element("title", {}, drawn, edge.key + (edge.found ? " (found, not made)" : ""));
    return { ...edge, drawn };
  });

  const nodes = data.nodes.map((node) => {
    const place = graph.node(node.id);
    const drawn = element("g", {
      class: `node ${node.kind}`, tabindex: 0, role: "button", "data-id": node.id,
      "aria-label": `${node.title}, ${node.note}`,
      transform: `translate(${place.x - place.width / 2} ${place.y - place.height / 2})`,
    }, svg);
    if (node.kind === "execution" && STATES.includes(node.state)) drawn.classList.add(node.state);
    const corner = node.kind === "artifact" ? place.height / 2 : 6;
    element("rect", { width: place.width, height: place.height, rx: corner }, drawn);
    const middle = { x: place.width / 2, "text-anchor": "middle" };
    element("text", { ...middle, y: 18 }, drawn, short(node.title, 26));
    element("text", { ...middle, y: 33, class: "note" }, drawn, node.note);
    element("title", {}, drawn, node.title);
    return { ...node, drawn, place };
  });

  // Zoom: the SVG's own size changes, scrolling is the browser's.
  let scale = 1;
  function zoom(to) {
    const x = (canvas.scrollLeft + canvas.clientWidth / 2) / scale;
    const y = (canvas.scrollTop + canvas.clientHeight / 2) / scale;
    scale = Math.min(Math.max(to, 0.08), 3);
    svg.setAttribute("width", width * scale);
    svg.setAttribute("height", height * scale);
    canvas.scrollLeft = x * scale - canvas.clientWidth / 2;
    canvas.scrollTop = y * scale - canvas.clientHeight / 2;
  }
  function fitting() {
    const room = Math.min(canvas.clientWidth / width, (canvas.clientHeight - 4) / height);
    return Math.min(room, 1.4);
  }
  byId("in").onclick = () => zoom(scale * 1.25);
  byId("out").onclick = () => zoom(scale / 1.25);
  byId("fit").onclick = () => zoom(fitting());
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(scale * Math.exp(-event.deltaY / 400));
  }, { passive: false });
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".node") || event.button) return;
    held = { x: event.clientX, y: event.clientY, left: canvas.scrollLeft, top: canvas.scrollTop };
    canvas.classList.add("held");
  });
  addEventListener("pointermove", (event) => {
    if (!held) return;
    canvas.scrollLeft = held.left + held.x - event.clientX;
    canvas.scrollTop = held.top + held.y - event.clientY;
  });
  addEventListener("pointerup", () => { held = null; canvas.classList.remove("held"); });

  // Facts of the chosen node, and its edges.
  function shown(name, value) {
    if (["started", "updated", "created"].includes(name)) return new Date(value).toISOString();
    return typeof value === "object" ? JSON.stringify(value, null, 1) : String(value);
  }
  function choose(node) {
    for (const other of nodes) other.drawn.classList.toggle("chosen", other === node);
    for (const edge of edges) {
      const near = node && (edge.from === node.id || edge.to === node.id);
      edge.drawn.classList.toggle("near", Boolean(near));
    }
    byId("facts").hidden = !node;
    if (!node) return;
    node.drawn.scrollIntoView({ block: "nearest", inline: "nearest" });
    byId("facts").querySelector("h2").textContent = node.title;
    const list = byId("facts").querySelector("dl");
    list.replaceChildren();
    for (const [name, value] of Object.entries(node.facts)) {
      if (value === "" || value === null) continue;
      list.append(Object.assign(document.createElement("dt"), { textContent: name }));
      list.append(Object.assign(document.createElement("dd"), { textContent: shown(name, value) }));
    }
  }
  for (const node of nodes) {
    node.drawn.addEventListener("click", () => choose(node));
    node.drawn.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(node); }
    });
  }
  byId("close").onclick = () => choose(null);
  addEventListener("keydown", (event) => { if (event.key === "Escape") choose(null); });

  byId("find").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    const fits = (node) => [node.title, node.note, ...Object.values(node.facts)]
      .some((value) => String(value).toLowerCase().includes(wanted));
    const found = wanted ? nodes.filter(fits) : nodes;
    for (const node of nodes) node.drawn.classList.toggle("dim", !found.includes(node));
    for (const edge of edges) edge.drawn.classList.toggle("dim", Boolean(wanted));
    byId("found").textContent = wanted ? `${found.length} found` : "";
    if (wanted && found.length) {
      canvas.scrollLeft = found[0].place.x * scale - canvas.clientWidth / 2;
      canvas.scrollTop = found[0].place.y * scale - canvas.clientHeight / 2;
    }
  });

  const legend = document.querySelector(".legend");
  const present = new Set(nodes.filter((n) => n.kind === "execution").map((n) => n.state));
  for (const state of [...STATES.filter((s) => present.has(s)), "artifact"]) {
    const item = Object.assign(document.createElement("li"), { className: state });
    item.append(document.createElement("i"), state);
    legend.append(item);
  }
  zoom(Math.max(fitting(), SMALLEST));
  canvas.scrollLeft = 0;
  if (height * scale > canvas.clientHeight && nodes.length) {
    const first = nodes.reduce((a, b) => (b.place.x < a.place.x ? b : a));
    canvas.scrollTop = first.place.y * scale - canvas.clientHeight / 2;
  }
})();
