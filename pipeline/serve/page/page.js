"use strict";

const at = (id) => document.getElementById(id);
const known = new Map(); // version -> its lineage
let model = null;
let shown = null;

async function get(path) {
  const reply = await fetch(path, { cache: "no-store" });
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error);
  return content;
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

async function lineage(version) {
  if (!known.has(version)) {
    known.set(version, await get(`/v1/models/${model}/versions/${version}/lineage`));
  }
  return known.get(version);
}

// Polls the served version: a push or a rollback shows within seconds.
async function follow() {
  const status = at("status");
  try {
    const health = await get("/healthz");
    model = health.model;
    at("name").textContent = model;
    status.dataset.state = "ok";
    status.textContent = `version ${health.version}`;
    if (health.version !== shown) {
      show(await lineage(health.version));
      shown = health.version;
    }
  } catch (error) {
    status.dataset.state = "bad";
    status.textContent = error instanceof TypeError ? "server not reached" : error.message;
  }
}

function describe(list, rows) {
  list.replaceChildren();
  for (const [name, value, className] of rows) {
    if (value === undefined || value === null || value === "") continue;
    list.append(element("dt", name), element("dd", value, className));
  }
}

const short = (digest) => (digest ? digest.slice(0, 12) : null);
// The Swedish locale formats as 2026-11-23 12:43:00.
const time = (iso) => (iso ? new Date(iso).toLocaleString("sv-SE").slice(0, 16) : null);

function show({ version, labels, card, run, run_missing: missing }) {
  const origin = card?.provenance ?? {};
  const measured = (card?.quantitative_analysis?.performance_metrics ?? [])
    .filter((metric) => ["accuracy", "auc"].includes(metric.type))
    .map((metric) => [`${metric.slice} ${metric.type}`, Number(metric.value).toFixed(3)]);
  describe(at("model"), [
    ["version", version],
    ["architecture", card?.model_parameters?.model_architecture],
    ["labels", labels?.join(", ")],
    ...measured,
    ["epochs", origin.epochs],
    ["trained", time(card?.model_details?.version?.date)],
  ]);
  describe(at("run"), [
    ["forced by", run?.forced && `${run.forced.by}: ${run.forced.reason}`, "forced"],
    ["run", run?.id, "code"],
    ["pipeline", run?.pipeline],
    ["pushed", time(run?.pushed_at)],
    ["model artifact", run && `#${run.model_artifact}`, "code"],
    ["data digest", short(origin.data_digest), "code"],
    ["config digest", short(origin.config_digest), "code"],
    ["git commit", short(origin.git_commit), "code"],
    ["TensorFlow", origin.libraries?.tensorflow, "code"],
  ]);
  at("missing").hidden = !missing;
  at("missing").textContent = missing ? `Run unknown: ${missing}.` : "";
  at("executions").replaceChildren(
    ...(run?.executions ?? []).map(({ id, node, state }) => {
      const item = element("li", node);
      item.dataset.state = state;
      item.append(element("span", state === "cached" ? `cached, #${id}` : `#${id}`));
      return item;
    }),
  );
}

async function base64(file) {
  const address = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Error("the file cannot be read"));
    reader.readAsDataURL(file);
  });
  return address.slice(address.indexOf(",") + 1);
}

async function predict(file) {
  const card = at("result").content.cloneNode(true).firstElementChild;
  const picture = card.querySelector("img");
  picture.src = URL.createObjectURL(file);
  picture.alt = file.name;
  card.querySelector(".note").textContent = file.name;
  at("results").prepend(card);
  try {
    const body = { signature_name: "serving_jpeg", instances: [{ b64: await base64(file) }] };
    const started = performance.now();
    const reply = await fetch(`/v1/models/${model}:predict`, { method: "POST", body: JSON.stringify(body) });
    const took = Math.round(performance.now() - started);
    const content = await reply.json();
    if (!reply.ok) throw new Error(content.error);
    const version = Number(reply.headers.get("x-model-version"));
    // A prediction is shown even if its lineage is unavailable.
    const { labels } = await lineage(version).catch(() => ({}));
    answer(card, content.predictions[0], labels, `${file.name} · version ${version} · ${took} ms`);
  } catch (error) {
    card.classList.add("failed");
    card.querySelector(".label").textContent =
      error instanceof TypeError ? "The server was not reached." : error.message.replace("instances[0]: ", "");
  }
}

function answer(card, { label, probabilities }, labels, note) {
  card.querySelector(".label").textContent = label;
  card.querySelector(".note").textContent = note;
  const bars = probabilities
    .map((probability, index) => [labels?.[index] ?? `label ${index}`, probability])
    .sort((one, other) => other[1] - one[1])
    .slice(0, 5);
  card.querySelector(".bars").replaceChildren(
    ...bars.map(([name, probability], place) => {
      const row = element("li", "", place === 0 ? "first" : "");
      const track = element("span", "", "track");
      const bar = document.createElement("i");
      bar.style.width = `${probability * 100}%`;
      track.append(bar);
      const named = element("span", name);
      named.title = name;
      row.append(named, track, element("b", `${(probability * 100).toFixed(1)} %`));
      return row;
    }),
  );
}

at("file").addEventListener("change", (event) => {
  [...event.target.files].forEach(predict);
  event.target.value = "";
});
// Photos may be dropped anywhere: outside the field the browser would open them instead.
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") [...event.dataTransfer.files].forEach(predict);
  });
}

follow();
setInterval(follow, 2000);
