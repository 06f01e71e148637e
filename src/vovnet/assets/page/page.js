const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const SIGNS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const safe = (text) => String(text).replace(/[&<>"']/g, (sign) => SIGNS[sign]);
const round = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));
const PLOT = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };


function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  if (chosen !== undefined) select.value = chosen;
}

function plotLayout(x, y) {
  const axis = { gridcolor: "#e5e8ec", zeroline: false, automargin: true };
  return {
    xaxis: { ...axis, title: { text: x } },
    yaxis: { ...axis, title: { text: y } },
    margin: { l: 50, r: 15, t: 10, b: 45 },
    hovermode: "closest",
    showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#b8c2cc", activecolor: "#5d6b7a" },
    font: { family: "system-ui, sans-serif", size: 13, color: "#1d2733" },
    uirevision: `${x}|${y}`,
  };
}

// ---- the main figure ------------------------------------------------------------------------

const figure = data.figure;
const hidden = new Set(figure.methods.filter((item) => !item.shown).map((item) => item.id));
const panel = () => figure.panels[at("figure-set").value][at("figure-unit").value];

function interval(part, index) {
  const ends = part.low[index] === null ? "" : ` [${part.low[index].toFixed(1)}, ${part.high[index].toFixed(1)}]`;
  return `${part.y[index].toFixed(1)}%${ends}`;
}

function hoverTexts(method, part, unit) {
  return part.x.map((cost, index) => {
    const place = part.labels && part.labels[index] ? `, ${safe(part.labels[index])}` : "";
    return `<b>${safe(method.title)}</b>${place}<br>accuracy ${interval(part, index)}<br>${cost.toPrecision(4)} ${safe(unit.toLowerCase())}`;
  });
}

function methodTraces(method, part, unit) {
  const common = { meta: method.id, hoverinfo: "text", visible: !hidden.has(method.id) };
  const traces = [];
  const curve = part.frontier;
  if (curve && method.main) {
    traces.push({
      ...common, x: [...curve.x, ...curve.x.toReversed()], y: [...curve.high, ...curve.low.toReversed()],
      mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: "rgba(213, 94, 0, 0.15)", hoverinfo: "skip",
    });
  }
  if (curve && method.line) {
    traces.push({ ...common, x: curve.x, y: curve.y, text: hoverTexts(method, curve, unit), mode: "lines", line: method.line });
  }
  if (part.points) {
    const joined = !curve && method.line && part.points.x.length > 1;
    const named = part.points.name;
    traces.push({
      ...common, x: part.points.x, y: part.points.y, hovertext: hoverTexts(method, part.points, unit),
      mode: ["markers", joined && "lines", named && "text"].filter(Boolean).join("+"),
      text: named ? part.points.x.map(() => safe(named)) : undefined, textposition: "bottom center",
      marker: { ...method.marker, line: { color: method.marker.color, width: method.marker.symbol.endsWith("-open") ? 1.5 : 0 } },
      line: method.line || {}, cliponaxis: false,
    });
  }
  return traces;
}

function drawFigure() {
  const { label } = figure.units.find((unit) => unit.id === at("figure-unit").value);
  const [unit] = label.split("\n");
  const parts = panel();
  const there = figure.methods.filter((method) => parts[method.id]);
  const traces = there.toReversed().flatMap((method) => methodTraces(method, parts[method.id], unit));
  Plotly.react("figure-plot", traces, plotLayout(label.replace("\n", "<br>"), "Accuracy [%]"), PLOT);
  const note = at("figure-note");
  note.hidden = there.length > 0;
  note.textContent = `Nothing was measured in this unit: ${unit.toLowerCase()}. Milliseconds are those of live experiments that were alone on their machine.`;
  at("methods").replaceChildren(...there.map(methodBox));
}

const GLYPHS = { square: "■", star: "★", "star-open": "☆", "x-thin-open": "×", "cross-thin-open": "+" };

function methodBox(method) {
  const label = document.createElement("label");
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !hidden.has(method.id), value: method.id });
  const swatch = document.createElement("span");
  swatch.className = method.line ? "swatch" : "glyph";
  swatch.textContent = method.line ? "" : GLYPHS[method.marker.symbol] || "●";
  swatch.style.color = (method.line || method.marker).color;
  if (method.line) swatch.style.borderTopStyle = { solid: "solid", dot: "dotted" }[method.line.dash] || "dashed";
  box.addEventListener("change", () => setMethods([method.id], box.checked));
  label.append(box, swatch, document.createTextNode(method.title));
  return label;
}

function setMethods(ids, shown) {
  for (const id of ids) shown ? hidden.delete(id) : hidden.add(id);
  const plot = at("figure-plot");
  const visible = plot.data.map((trace) => !hidden.has(trace.meta));
  Plotly.restyle(plot, { visible });
  for (const box of at("methods").querySelectorAll("input")) box.checked = !hidden.has(box.value);
}

function startFigure() {
  options(at("figure-set"), figure.datasets.map((name) => [name, name]));
  options(at("figure-unit"), figure.units.map((unit) => [unit.id, unit.label.replace("\n", " ")]));
  for (const id of ["figure-set", "figure-unit"]) at(id).addEventListener("change", drawFigure);
  const all = figure.methods.map((method) => method.id);
  for (const button of document.querySelectorAll("[data-methods]")) {
    button.addEventListener("click", () => {
      setMethods(all, button.dataset.methods === "all");
      if (button.dataset.methods === "paper") setMethods(figure.methods.filter((item) => item.shown).map((item) => item.id), true);
    });
  }
  drawFigure();
}

// ---- tables and checks ------------------------------------------------------------------------

const NUMBER = /^[+-]?\d[\d,]*\.?\d*/;
const numeric = (text) => NUMBER.exec(text.replace("−", "-"))?.[0];
const empty = (text) => text === "" || text === "–";

function tableColumn(rows, heading, index) {
  const cells = rows.map((row) => row[index]);
  const isNumeric = cells.some((cell) => numeric(cell)) && cells.every((cell) => empty(cell) || numeric(cell));
  const key = (cell) => (isNumeric ? (empty(cell) ? -Infinity : Number(numeric(cell).replaceAll(",", ""))) : cell.toLowerCase());
  // DataTables reads texts to search as HTML, too.
  const render = (cell, purpose) => (["display", "filter"].includes(purpose) ? safe(cell) : key(cell));
  return { title: safe(heading), data: index, render, type: isNumeric ? "num" : "string", className: isNumeric ? "dt-right" : "dt-left" };
}

function drawTable(place, table, more = {}) {
  const element = document.createElement("table");
  element.className = "display compact";
  place.replaceChildren(element);
  const columns = table.columns.map((heading, index) => tableColumn(table.rows, heading, index));
  const paged = table.rows.length > 50;
  return new DataTable(element, { data: table.rows, columns, order: [], paging: paged, pageLength: 25, info: paged, autoWidth: false, deferRender: true, ...more });
}

function startTables() {
  options(at("table-name"), data.tables.map((table, index) => [index, table.name.replaceAll("_", " ")]));
  const draw = () => {
    const table = data.tables[at("table-name").value];
    at("table-caption").textContent = table.caption;
    drawTable(at("table"), table);
  };
  at("table-name").addEventListener("change", draw);
  if (data.tables.length) draw();
}

function startChecks() {
  const counts = Map.groupBy(data.checks.rows, (row) => row[0]);
  const count = (word) => (counts.get(word) || []).length;
  at("check-counts").textContent = `${count("FAIL")} fail, ${count("not run")} not run, ${count("pass")} pass.`;
  const broken = (counts.get("FAIL") || []).filter((row) => row[3] === "invariant");
  if (broken.length) {
    at("failed").hidden = false;
    at("failed").textContent = `${broken.length} invariants are broken: the numbers of this report cannot be trusted. ${broken.map((row) => row[2]).join("; ")}.`;
  }
  drawTable(at("check-table"), data.checks, {
    createdRow: (row, cells) => row.cells[0].classList.add(`result-${cells[0].replace(" ", "-")}`),
    paging: false, info: false,
  });
}

// ---- the questions ------------------------------------------------------------------------------

const asked = data.questions;
const rows = asked.rows;
const NUM_ROWS = rows.id.length;
const NUM_ACTIONS = asked.actions.length;
const NUM_STEPS = 120;
const RIGHT = 0.5;
const UNITS = { tokens: "Vision tokens", flops: "GFLOPs" };
const tokens = Float64Array.from(rows.tokens.flat());
const prices = Float64Array.from(tokens, (count, place) => count * asked.cost_scale * asked.sets[rows.set[Math.floor(place / NUM_ACTIONS)]].price);
const seeds = asked.seeds.map((told) => ({
  ...told,
  scores: Float64Array.from(told.scores.flat(), (value) => (value === null ? NaN : value)),
  right: Float64Array.from(told.right.flat()),
  flops: Float64Array.from(told.flops.flat(), (value) => (value === null ? NaN : value)),
  text_flops: Float64Array.from(told.text_flops),
  texts: rows.question.map((question, row) => [question, ...rows.gold[row], ...told.answers[row], rows.id[row]].join("\n").toLowerCase()),
}));
const state = { seed: 0, lambda: data.target_lambda, single: null };
const units = Int32Array.from(rows.unit);
const seen = new Int32Array(NUM_ROWS);
const least = new Float64Array(NUM_ROWS);
let turn = 0;
const chosen = new Uint8Array(NUM_ROWS);
let shownRows = [];
let scope = [];
let steps = [];
let table = null;
let outcome = null;

// The action of the highest score - lambda * cost of some rows; ties go to the cheaper one.
function decide(lambda, into, some) {
  const { scores } = seeds[state.seed];
  const allowed = asked.allowed;
  for (let index = 0; index < some.length; index++) {
    const base = some[index] * NUM_ACTIONS;
    let best = allowed[0];
    let price = prices[base + best];
    let worth = scores[base + best] - lambda * price;
    for (let other = 1; other < allowed.length; other++) {
      const action = allowed[other];
      const cost = prices[base + action];
      const value = scores[base + action] - lambda * cost;
      if (value > worth || (value === worth && cost < price)) {
        best = action;
        price = cost;
        worth = value;
      }
    }
    into[some[index]] = best;
  }
}

// Means over some rows. A question with circular passes is right where all of them are.
function measure(actions, some) {
  const { right, flops, text_flops } = seeds[state.seed];
  const shares = new Float64Array(NUM_ACTIONS);
  let tokenSum = 0;
  let flopSum = 0;
  let rightSum = 0;
  let questions = 0;
  turn += 1;
  for (let index = 0; index < some.length; index++) {
    const row = some[index];
    const place = row * NUM_ACTIONS + actions[row];
    const unit = units[row];
    if (seen[unit] !== turn) {
      seen[unit] = turn;
      least[unit] = right[place];
      rightSum += right[place];
      questions += 1;
    } else if (right[place] < least[unit]) {
      rightSum += right[place] - least[unit];
      least[unit] = right[place];
    }
    tokenSum += tokens[place];
    flopSum += flops[place] + text_flops[row];
    shares[actions[row]] += 1;
  }
  const count = Math.max(1, some.length);
  return {
    questions, accuracy: (100 * rightSum) / Math.max(1, questions), tokens: tokenSum / count,
    flops: flopSum / count / 1e9, shares: Array.from(shares, (share) => share / count),
  };
}

// Values of lambda for the slider: as many questions change their action between any two of them.
function sliderSteps() {
  const { scores } = seeds[state.seed];
  const switches = [];
  for (let row = 0; row < NUM_ROWS; row++) {
    for (const low of asked.allowed) {
      for (const high of asked.allowed) {
        const [cheap, dear] = [row * NUM_ACTIONS + low, row * NUM_ACTIONS + high];
        const value = (scores[dear] - scores[cheap]) / (prices[dear] - prices[cheap]);
        if (prices[dear] > prices[cheap] && value > 0 && value < Infinity) switches.push(value);
      }
    }
  }
  const sorted = Float64Array.from(switches).sort();
  const last = sorted.length - 1;
  const inner = Array.from({ length: NUM_STEPS - 1 }, (_, step) => sorted[Math.round((step / (NUM_STEPS - 2)) * last)]);
  steps = sorted.length ? [0, ...inner, sorted[last] * 1.001] : [0];
  at("lambda").max = steps.length - 1;
}

const nearestStep = (lambda) => steps.reduce((best, value, step) => (Math.abs(value - lambda) < Math.abs(steps[best] - lambda) ? step : best), 0);
const everyRow = Array.from({ length: NUM_ROWS }, (_, row) => row);

function inScope() {
  const set = at("filter-set").value;
  const category = at("filter-category").value;
  const stratum = at("filter-stratum").value;
  const text = at("filter-text").value.trim().toLowerCase();
  return (row) =>
    (set === "" || rows.set[row] === Number(set)) &&
    (category === "" || rows.category[row] === category.slice(1)) &&
    (stratum === "" || seeds[state.seed].stratum[row] === stratum.slice(1)) &&
    (text === "" || seeds[state.seed].texts[row].includes(text));
}

function matches() {
  const action = at("filter-action").value;
  const right = at("filter-right").value;
  const { right: scores } = seeds[state.seed];
  return (row) =>
    (action === "" || chosen[row] === Number(action)) &&
    (right === "" || (scores[row * NUM_ACTIONS + chosen[row]] >= RIGHT) === (right === "right"));
}

function filterRows() {
  scope = state.single === null ? everyRow.filter(inScope()) : [state.single];
  shownRows = state.single === null ? scope.filter(matches()) : scope;
}

function rowLink(row) {
  const facts = new URLSearchParams({ question: `${asked.sets[rows.set[row]].name}/${rows.id[row]}`, seed: seeds[state.seed].seed });
  if (asked.decides) facts.set("lambda", state.lambda);
  return `#${facts}`;
}

function pictureCell(row) {
  const images = rows.images[row].map((image) => `<img src="${asked.images[image]}" alt="picture of question ${safe(rows.id[row])}">`);
  return `<div class="picture">${images.join("") || "<span class=about>no picture here</span>"}</div>`;
}

function questionCell(row) {
  const choices = rows.choices[row].map((text) => `<li>${safe(text)}</li>`).join("");
  const stratum = seeds[state.seed].stratum[row];
  const about = [asked.sets[rows.set[row]].name, rows.id[row], rows.category[row], stratum && `needs ${stratum}`];
  return (
    `<p>${safe(rows.question[row])}</p><ul class="choices">${choices}</ul>` +
    `<p class="gold">Gold: ${rows.gold[row].map(safe).join(" | ") || "none"}</p>` +
    `<p class="about">${about.filter(Boolean).map(safe).join(" · ")} · <a href="${safe(rowLink(row))}">link</a></p>`
  );
}

function viewsCell(row) {
  const told = seeds[state.seed];
  const head = asked.decides ? `<th class="number">score</th><th class="number">value</th>` : "";
  const lines = asked.actions.map((name, action) => {
    const place = row * NUM_ACTIONS + action;
    const right = told.right[place];
    const mark = right >= RIGHT ? "right" : "wrong";
    const graded = right > 0 && right < 1 ? ` ${right.toFixed(2)}` : "";
    const allowed = asked.allowed.includes(action);
    const score = told.scores[place];
    const value = allowed ? round(score - state.lambda * prices[place], 3) : "not allowed";
    const worth = asked.decides ? `<td class="number">${round(score, 3)}</td><td class="number">${value}</td>` : "";
    const isChosen = asked.decides && chosen[row] === action;
    return (
      `<tr class="${isChosen ? "chosen" : ""}" data-action="${action}"><td>${safe(name)}</td>` +
      `<td class="said"><span class="${mark}" title="${mark}">${right >= RIGHT ? "✓" : "✗"}${graded}</span> ${safe(told.answers[row][action])}</td>` +
      `<td class="number">${tokens[place]}</td>${worth}</tr>`
    );
  });
  return `<table class="views"><tr><th>view</th><th>answer</th><th class="number">tokens</th>${head}</tr>${lines.join("")}</table>`;
}

const ORDERS = {
  1: (row) => row,
  2: (row) => {
    const base = row * NUM_ACTIONS;
    const values = asked.allowed.map((action) => seeds[state.seed].scores[base + action] - state.lambda * prices[base + action]);
    return Math.max(...values.slice(1)) - values[0];
  },
};

// DataTables asks for a page of rows, so that only these are ever drawn.
function pageOfRows(request, answer) {
  const [order] = request.order;
  let found = shownRows;
  if (order && ORDERS[order.column]) {
    const key = ORDERS[order.column];
    const sign = order.dir === "desc" ? -1 : 1;
    const keys = new Map(found.map((row) => [row, key(row)]));
    found = found.toSorted((one, other) => sign * (keys.get(one) - keys.get(other)) || one - other);
  }
  const page = found.slice(request.start, request.length < 0 ? undefined : request.start + request.length);
  answer({
    draw: request.draw, recordsTotal: NUM_ROWS, recordsFiltered: found.length,
    data: page.map((row) => ({ picture: pictureCell(row), question: questionCell(row), views: viewsCell(row), DT_RowAttr: { "data-question": `${asked.sets[rows.set[row]].name}/${rows.id[row]}` } })),
  });
}

function drawCurve() {
  const unit = at("question-unit").value;
  const traces = [];
  const actions = new Uint8Array(NUM_ROWS);
  const point = (measured) => [measured[unit], measured.accuracy];
  const always = asked.actions.map((name, action) => point(measure(actions.fill(action), scope)));
  if (asked.decides) {
    const curve = steps.map((lambda) => {
      decide(lambda, actions, scope);
      return point(measure(actions, scope));
    });
    traces.push({ x: curve.map(([x]) => x), y: curve.map(([, y]) => y), text: steps.map((lambda) => `λ = ${lambda.toPrecision(3)}`), hovertemplate: "%{text}<br>%{x:.3~f}, %{y:.1f}%<extra></extra>", mode: "lines", line: { color: "#d55e00", width: 2 } });
  }
  traces.push({ x: always.map(([x]) => x), y: always.map(([, y]) => y), text: asked.actions.map(safe), hovertemplate: "always %{text}<br>%{x:.3~f}, %{y:.1f}%<extra></extra>", mode: "markers+text", textposition: "bottom center", marker: { symbol: "square", size: 8, color: "#000" }, cliponaxis: false });
  if (asked.decides) {
    traces.push({ x: [null], y: [null], name: "now", hovertemplate: "now<br>%{x:.3~f}, %{y:.1f}%<extra></extra>", mode: "markers", marker: { size: 14, color: "#d55e00", line: { color: "#fff", width: 2 } } });
  }
  Plotly.react("question-plot", traces, plotLayout(`${UNITS[unit]} per question`, "Accuracy [%]"), PLOT);
}

function drawPoint() {
  const plot = at("question-plot");
  if (asked.decides) Plotly.restyle(plot, { x: [[outcome[at("question-unit").value]]], y: [[outcome.accuracy]] }, [plot.data.length - 1]);
}

// The table answers at once, and the plot follows when that is on the screen.
const waiting = new Set();
function plotLater(...draws) {
  if (!waiting.size) {
    requestAnimationFrame(() => setTimeout(() => {
      const due = [drawCurve, drawPoint].filter((draw) => waiting.has(draw));
      waiting.clear();
      for (const draw of due) draw();
    }));
  }
  for (const draw of draws) waiting.add(draw);
}

function tellOutcome() {
  if (!asked.decides) return;
  outcome = measure(chosen, scope);
  const shares = asked.actions.map((name, action) => `${name} ${(100 * outcome.shares[action]).toFixed(0)}%`).join(", ");
  const flops = Number.isNaN(outcome.flops) ? "" : `, ${outcome.flops.toPrecision(3)} GFLOPs`;
  at("outcome").textContent = scope.length
    ? `λ = ${Number(state.lambda.toPrecision(4))}: ${outcome.accuracy.toFixed(1)}% of ${outcome.questions.toLocaleString("en")} questions right, ${outcome.tokens.toFixed(1)} vision tokens${flops}; ${shares}.`
    : "No question matches.";
}

function rowsChanged() {
  filterRows();
  table.draw();
}

function lambdaMoved() {
  decide(state.lambda, chosen, everyRow);
  filterRows();
  tellOutcome();
  table.draw(false);
  plotLater(drawPoint);
}

function scopeChanged() {
  if (asked.decides) decide(state.lambda, chosen, everyRow);
  filterRows();
  tellOutcome();
  table.draw();
  plotLater(drawCurve, drawPoint);
}

function setLambda(lambda) {
  if (!(lambda >= 0)) return;
  state.lambda = lambda;
  at("lambda").value = nearestStep(lambda);
  at("lambda-number").value = Number(lambda.toPrecision(6));
}

function leaveSingle() {
  at("single").hidden = true;
  if (state.single === null) return;
  state.single = null;
  history.replaceState(null, "", "#questions");
}

function followLink() {
  const facts = new URLSearchParams(location.hash.slice(1));
  const name = facts.get("question");
  if (name === null) return;
  const row = everyRow.find((row) => `${asked.sets[rows.set[row]].name}/${rows.id[row]}` === name);
  at("single").hidden = false;
  at("single").textContent = row === undefined ? `There is no question ${name} in this report.` : `Only question ${name} is shown. “Show all” shows the others.`;
  const seed = seeds.findIndex((told) => String(told.seed) === facts.get("seed"));
  if (seed >= 0 && seed !== state.seed) chooseSeed(seed);
  if (asked.decides && facts.get("lambda") !== null) setLambda(Number(facts.get("lambda")));
  state.single = row ?? null;
  scopeChanged();
  at("questions").scrollIntoView();
}

function chooseSeed(seed) {
  state.seed = seed;
  at("seed").value = seed;
  const words = [...new Set(seeds[seed].stratum)].filter(Boolean);
  const before = at("filter-stratum").value;
  options(at("filter-stratum"), [["", "anything"], ...words.sort().map((word) => [`=${word}`, word])]);
  at("filter-stratum").value = words.includes(before.slice(1)) ? before : "";
  if (asked.decides) {
    sliderSteps();
    setLambda(state.lambda);
  }
}

function startQuestions() {
  const categories = [...new Set(rows.category)].filter(Boolean).sort();
  options(at("filter-set"), [["", "all"], ...asked.sets.map((set, number) => [number, set.name])]);
  options(at("filter-category"), [["", "all"], ...categories.map((name) => [`=${name}`, name])]);
  options(at("filter-action"), [["", "any"], ...asked.allowed.map((action) => [action, asked.actions[action]])]);
  options(at("filter-right"), [["", "right or wrong"], ["right", "right"], ["wrong", "wrong"]]);
  options(at("seed"), seeds.map((told, number) => [number, told.seed]));
  const counted = seeds.every((told) => !told.flops.some(Number.isNaN));
  options(at("question-unit"), Object.entries(UNITS).filter(([unit]) => unit === "tokens" || counted));
  at("lambda-controls").hidden = !asked.decides;
  for (const id of ["filter-action", "filter-right"]) at(id).disabled = !asked.decides;
  const notes = [
    asked.decides
      ? `${asked.title} takes the action with the highest value, which is score − λ·cost; scores are in ${asked.score_of}. The filled point moves along the curve of the chosen questions with λ.`
      : "No method of this report gives each action a score, so that there is no λ to move.",
    asked.missing_images ? `${asked.missing_images} pictures are not shown, because their files are gone.` : "",
    asked.left_out_images ? `${asked.left_out_images} pictures are left out, so that this page stays small.` : "",
    seeds.some((told) => told.stratum.some(Boolean)) ? "“Needs” is the cheapest view that is likely to answer a question, told by other seeds or by its text." : "What a question needs is not known here.",
  ];
  at("question-note").textContent = notes.filter(Boolean).join(" ");
  chooseSeed(0);
  if (asked.decides) decide(state.lambda, chosen, everyRow);
  filterRows();
  tellOutcome();
  plotLater(drawCurve, drawPoint);
  table = new DataTable(at("question-table"), {
    serverSide: true, ajax: pageOfRows, searching: false, autoWidth: false, order: [], pageLength: 10, lengthMenu: [10, 25, 50],
    columns: [
      { title: "Picture", data: "picture", orderable: false, width: "170px" },
      { title: "Question", data: "question", width: "38%" },
      { title: asked.decides ? "Views, sorted by what looking is worth" : "Views", data: "views", orderable: asked.decides },
    ],
    language: { info: "_START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)", infoEmpty: "none", zeroRecords: "No question matches.", lengthMenu: "_MENU_ a page" },
  });
  const filters = { "filter-set": scopeChanged, "filter-category": scopeChanged, "filter-stratum": scopeChanged, "filter-text": scopeChanged, "filter-action": rowsChanged, "filter-right": rowsChanged };
  for (const [id, changed] of Object.entries(filters)) {
    at(id).addEventListener(id === "filter-text" ? "input" : "change", () => {
      const wasSingle = state.single !== null;
      leaveSingle();
      wasSingle ? scopeChanged() : changed();
    });
  }
  at("question-unit").addEventListener("change", () => plotLater(drawCurve, drawPoint));
  at("seed").addEventListener("change", () => { chooseSeed(Number(at("seed").value)); scopeChanged(); });
  at("lambda").addEventListener("input", () => { setLambda(steps[at("lambda").value]); lambdaMoved(); });
  at("lambda-number").addEventListener("change", () => { setLambda(Number(at("lambda-number").value)); lambdaMoved(); });
  at("filter-reset").addEventListener("click", () => {
    leaveSingle();
    for (const id of Object.keys(filters)) at(id).value = "";
    scopeChanged();
  });
  window.addEventListener("hashchange", followLink);
  followLink();
}

startFigure();
startTables();
startChecks();
startQuestions();
document.documentElement.dataset.ready = "yes";
